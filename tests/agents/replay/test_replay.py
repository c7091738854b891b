"""The replay against plain lists of episodes fed the same stream, and its contract at the edges."""

import io
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from agents.replay import DeviceStorage, Lz4Storage, Priorities, RawStorage, Replay

NUM_ENVS, FRAME = 3, (2, 5, 7)
STORAGES = {
    "raw": RawStorage,
    "lz4": Lz4Storage,
    "device": lambda capacity, shape: DeviceStorage(capacity, shape, device=torch.device("cpu")),
}


class Step(NamedTuple):
    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminal: np.ndarray
    ended: np.ndarray
    final_frames: np.ndarray


def random_steps(num_steps: int, seed: int, *, end_probability: float = 0.1) -> list[Step]:
    """Returns steps with noise for frames and ends, truncations and life losses at random."""
    generator = np.random.default_rng(seed)
    frames = generator.integers(0, 256, (2, num_steps, NUM_ENVS, *FRAME), dtype=np.uint8)
    ended = generator.random((num_steps, NUM_ENVS)) < end_probability
    terminal = generator.random((num_steps, NUM_ENVS)) < np.where(ended, 0.5, end_probability)
    return [
        Step(
            frames=frames[0, t],
            actions=generator.integers(0, 18, NUM_ENVS),
            rewards=generator.integers(-3, 4, NUM_ENVS).astype(np.float64),
            terminal=terminal[t],
            ended=ended[t],
            final_frames=frames[1, t],
        )
        for t in range(num_steps)
    ]


class PlainEpisodes:
    """Everything that one environment showed, in a plain list, and its transitions by definition."""

    def __init__(self, steps: list[Step], env: int) -> None:
        self.records: list[dict[str, Any]] = []
        first = 0
        for step in steps:
            self.records.append(
                {
                    "frame": step.frames[env],
                    "first": first,
                    "action": int(step.actions[env]),
                    "reward": float(step.rewards[env]),
                    "terminal": bool(step.terminal[env]),
                    "ended": bool(step.ended[env]),
                    "final": False,
                }
            )
            if step.ended[env]:
                self.records.append({"frame": step.final_frames[env], "first": first, "final": True})
                first = len(self.records)

    def observation(self, index: int, stack: int) -> np.ndarray:
        first = self.records[index]["first"]
        frames = [self.records[max(index - back, first)]["frame"] for back in reversed(range(stack))]
        return np.concatenate(frames)

    def transition(self, index: int, *, stack: int, n_step: int, discount: float, clip: bool) -> dict[str, Any] | None:
        """Returns the transition that starts here, None where there is none (yet)."""
        if self.records[index]["final"]:
            return None
        total, k = 0.0, 0
        while True:
            if index + k >= len(self.records):
                return None
            record = self.records[index + k]
            total += discount**k * (np.sign(record["reward"]) if clip else record["reward"])
            k += 1
            if k == n_step or record["terminal"] or record["ended"]:
                break
        if index + k >= len(self.records):
            return None
        return {
            "observation": self.observation(index, stack),
            "action": self.records[index]["action"],
            "reward": np.float32(total),
            "discount": np.float32(0.0 if record["terminal"] else discount**k),
            "next_observation": self.observation(index + k, stack),
        }


def expected_transitions(
    steps: list[Step], slots_per_env: int, *, stack: int, n_step: int, discount: float, clip: bool
) -> dict[int, dict[str, Any]]:
    """Returns by slot all transitions whose frames are among the newest `slots_per_env` of their environment."""
    expected = {}
    for env in range(NUM_ENVS):
        episodes = PlainEpisodes(steps, env)
        oldest = max(0, len(episodes.records) - slots_per_env)
        for index in range(oldest, len(episodes.records)):
            oldest_of_stack = max(index - stack + 1, episodes.records[index]["first"])
            transition = episodes.transition(index, stack=stack, n_step=n_step, discount=discount, clip=clip)
            if transition is not None and oldest_of_stack >= oldest:
                expected[index % slots_per_env * NUM_ENVS + env] = transition
    return expected


def feed(replay: Replay, steps: list[Step]) -> None:
    for step in steps:
        replay.append(**step._asdict())


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("prioritised", [False, True])
@pytest.mark.parametrize(
    ("stack", "n_step", "slots_per_env"), [(4, 1, 23), (4, 3, 23), (1, 1, 2), (4, 3, 7), (3, 5, 97)]
)
def test_replay_holds_exactly_the_transitions_of_a_plain_list_of_episodes(
    storage: str, prioritised: bool, stack: int, n_step: int, slots_per_env: int
) -> None:
    capacity = NUM_ENVS * slots_per_env + 2
    replay = Replay(
        STORAGES[storage](capacity, FRAME),
        num_envs=NUM_ENVS,
        stack=stack,
        n_step=n_step,
        discount=0.97,
        reward_clip=prioritised,
        priorities=Priorities(capacity) if prioritised else None,
    )
    generator = np.random.default_rng(0)
    steps = random_steps(61, seed=1)
    for t, step in enumerate(steps):
        feed(replay, [step])
        expected = expected_transitions(
            steps[: t + 1], slots_per_env, stack=stack, n_step=n_step, discount=0.97, clip=prioritised
        )
        assert len(replay) == len(expected)
        if not expected:
            continue
        batch = replay.sample(13, generator)
        for row, slot in enumerate(batch.slot.tolist()):
            wanted = expected[slot]
            np.testing.assert_array_equal(batch.observation[row].numpy(), wanted["observation"])
            np.testing.assert_array_equal(batch.next_observation[row].numpy(), wanted["next_observation"])
            assert batch.action[row] == wanted["action"]
            assert batch.reward[row] == wanted["reward"]
            assert batch.discount[row] == wanted["discount"]
        if prioritised:
            replay.set_priorities(batch.slot, torch.from_numpy(generator.standard_normal(13)))
    drawn = set(replay.sample(5000, generator).slot.tolist())
    # Prioritised, a transition with a small error may stay undrawn.
    assert drawn <= set(expected) if prioritised else drawn == set(expected)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("prioritised", [False, True])
@pytest.mark.parametrize("num_steps", [11, 61])
def test_saved_and_loaded_replay_continues_bit_for_bit(storage: str, prioritised: bool, num_steps: int) -> None:
    def build() -> Replay:
        return Replay(
            STORAGES[storage](101, FRAME),
            num_envs=NUM_ENVS,
            stack=4,
            n_step=3,
            discount=0.99,
            reward_clip=True,
            priorities=Priorities(101) if prioritised else None,
        )

    def go_on(replay: Replay, first: int) -> list[torch.Tensor]:
        generator = np.random.default_rng(3)
        seen = []
        for step in steps[first:]:
            batch = replay.sample(17, generator, importance_exponent=0.7)
            replay.set_priorities(batch.slot, batch.reward * 3.1 + batch.weight)
            feed(replay, [step])
            seen += list(batch)
        return seen

    steps = random_steps(2 * num_steps, seed=5)
    replay, loaded = build(), build()
    feed(replay, steps[:num_steps])
    batch = replay.sample(17, np.random.default_rng(7))
    replay.set_priorities(batch.slot, 5 * batch.reward)
    file = io.BytesIO()
    torch.save(replay.state_dict(), file)
    file.seek(0)
    feed(loaded, steps[3 : num_steps + 11])  # what was there before must leave no trace
    loaded.load_state_dict(torch.load(file, weights_only=True))

    for ours, theirs in zip(go_on(replay, num_steps), go_on(loaded, num_steps), strict=True):
        assert torch.equal(ours, theirs)
