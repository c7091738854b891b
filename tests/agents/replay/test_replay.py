"""The replay against plain lists of episodes fed the same stream, and its contract at the edges."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch

from agents.replay import DeviceStorage, FrameStorage, Lz4Storage, Priorities, RawStorage, Replay
from scripts.run.random_play import PlayedStep
from scripts.verify_replay import PlainEpisodes

NUM_ENVS, FRAME = 3, (2, 5, 7)


def on_cpu(capacity: int, item_shape: tuple[int, ...], *, dtype: torch.dtype = torch.uint8) -> FrameStorage:
    return DeviceStorage(capacity, item_shape, device=torch.device("cpu"), dtype=dtype)


every_storage = pytest.mark.parametrize("storage", [RawStorage, Lz4Storage, on_cpu])


def build(
    capacity: int = 101,
    *,
    storage: Callable[..., FrameStorage] = RawStorage,
    stack: int = 4,
    n_step: int = 3,
    prioritised: bool = False,
    reward_clip: bool = False,
) -> Replay:
    return Replay(
        storage(capacity, FRAME),
        num_envs=NUM_ENVS,
        stack=stack,
        n_step=n_step,
        discount=0.97,
        reward_clip=reward_clip,
        priorities=Priorities(capacity, exponent=0.6, epsilon=0.01) if prioritised else None,
    )


def random_steps(num_steps: int, seed: int, *, end_probability: float = 0.1) -> list[PlayedStep]:
    """Returns steps with noise for frames, and true ends, truncations and life losses at random."""
    generator = np.random.default_rng(seed)
    frames = generator.integers(0, 256, (num_steps + 1, NUM_ENVS, *FRAME), dtype=np.uint8)
    ended = generator.random((num_steps, NUM_ENVS)) < end_probability
    terminal = generator.random((num_steps, NUM_ENVS)) < np.where(ended, 0.5, end_probability)
    return [
        PlayedStep(
            frames=frames[t],
            actions=generator.integers(0, 18, NUM_ENVS),
            rewards=generator.integers(-3, 4, NUM_ENVS).astype(np.float64),
            terminal=terminal[t],
            ended=ended[t],
            final_frames=255 - frames[t],
            next_frames=frames[t + 1],
        )
        for t in range(num_steps)
    ]


def feed(replay: Replay, steps: list[PlayedStep]) -> None:
    for step in steps:
        replay.append(
            frames=step.frames,
            actions=step.actions,
            rewards=step.rewards,
            terminal=step.terminal,
            ended=step.ended,
            final_frames=step.final_frames,
        )


def expected_starts(
    lists: list[PlainEpisodes], slots_per_env: int, *, stack: int, n_step: int
) -> dict[int, tuple[int, int]]:
    """Returns where transitions start whose every frame is among the newest `slots_per_env` of its environment.

    Maps slots to environments and numbers of observations.
    """
    starts = {}
    for env, episodes in enumerate(lists):
        oldest = max(0, len(episodes.observations) - slots_per_env)
        for number in range(oldest, len(episodes.observations)):
            _, t = episodes.observations[number]
            whole = 0 < episodes.num_steps(number, n_step) < len(episodes.observations) - number
            if whole and number - min(t, stack - 1) >= oldest:
                starts[number % slots_per_env * NUM_ENVS + env] = (env, number)
    return starts


@every_storage
@pytest.mark.parametrize("prioritised", [False, True])
@pytest.mark.parametrize(
    ("stack", "n_step", "slots_per_env"), [(4, 1, 23), (4, 3, 23), (1, 1, 2), (4, 3, 7), (3, 5, 97)]
)
def test_replay_holds_exactly_the_transitions_of_a_plain_list_of_episodes(
    storage: Callable[..., FrameStorage], prioritised: bool, stack: int, n_step: int, slots_per_env: int
) -> None:
    capacity = NUM_ENVS * slots_per_env + 2  # the remainder is not used
    clip = prioritised
    replay = build(capacity, storage=storage, stack=stack, n_step=n_step, prioritised=prioritised, reward_clip=clip)
    lists = [PlainEpisodes() for _ in range(NUM_ENVS)]
    generator = np.random.default_rng(0)
    expected: dict[int, tuple[int, int]] = {}
    for step in random_steps(61, seed=1):
        feed(replay, [step])
        for env, episodes in enumerate(lists):
            episodes.append(step, env)
        expected = expected_starts(lists, slots_per_env, stack=stack, n_step=n_step)
        assert len(replay) == len(expected)
        if not expected:
            continue
        batch = replay.sample(13, generator)
        for row, slot in enumerate(batch.slot.tolist()):
            env, number = expected[slot]
            wanted = lists[env].transition(number, stack=stack, n_step=n_step, discount=0.97, reward_clip=clip)
            assert wanted is not None
            np.testing.assert_array_equal(batch.observation[row].numpy(), wanted.observation)
            np.testing.assert_array_equal(batch.next_observation[row].numpy(), wanted.next_observation)
            assert batch.action[row] == wanted.action
            assert batch.reward[row] == np.float32(wanted.reward)
            assert batch.discount[row] == np.float32(wanted.discount)
    drawn = set(replay.sample(5000, generator).slot.tolist())
    assert drawn == set(expected)


@every_storage
@pytest.mark.parametrize("prioritised", [False, True])
@pytest.mark.parametrize("num_steps", [11, 61])
def test_saved_and_loaded_replay_continues_bit_for_bit(
    storage: Callable[..., FrameStorage], prioritised: bool, num_steps: int
) -> None:
    def go_on(replay: Replay) -> list[torch.Tensor]:
        generator = np.random.default_rng(3)
        seen: list[torch.Tensor] = []
        for step in steps[num_steps:]:
            batch = replay.sample(17, generator, importance_exponent=0.7)
            replay.set_priorities(batch.slot, batch.reward * 3.1 + batch.weight)
            feed(replay, [step])
            seen += batch
        return seen

    steps = random_steps(2 * num_steps, seed=5)
    replay, loaded = (build(storage=storage, prioritised=prioritised) for _ in range(2))
    feed(replay, steps[:num_steps])
    batch = replay.sample(17, np.random.default_rng(7))
    replay.set_priorities(batch.slot, 5 * batch.reward)
    file = io.BytesIO()
    torch.save(replay.state_dict(), file)
    file.seek(0)
    feed(loaded, steps[3 : num_steps + 11])  # what was there before must leave no trace
    loaded.load_state_dict(torch.load(file, weights_only=True))

    for ours, theirs in zip(go_on(replay), go_on(loaded), strict=True):
        assert torch.equal(ours, theirs)


def test_saving_a_raw_replay_copies_no_frames() -> None:
    storage = RawStorage(101, FRAME)
    replay = Replay(storage, num_envs=NUM_ENVS, stack=4, n_step=3, discount=0.97, reward_clip=False)
    feed(replay, random_steps(11, seed=0))
    frames = replay.state_dict()["storage"]["items"]
    storage.write(np.array([5]), np.full((1, *FRAME), 7, np.uint8))
    assert (frames[5] == 7).all()


def test_uniform_sampling_is_uniform_over_the_transitions_of_all_environments() -> None:
    replay = build(300)
    # The first environment's episodes are short: it takes more slots, and a third of them start nothing.
    steps = random_steps(61, seed=0, end_probability=0.0)
    for t, step in enumerate(steps):
        step.ended[0] = t % 2 == 0
    feed(replay, steps)
    counts = torch.bincount(replay.sample(200_000, np.random.default_rng(1)).slot).numpy()
    counts = counts[counts > 0]
    assert len(counts) == len(replay)
    expected = 200_000 / len(replay)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = len(replay) - 1
    assert abs(chi_square - freedom) < 4 * np.sqrt(2 * freedom)


def test_life_loss_ends_the_return_but_not_the_stack() -> None:
    frames = np.arange(7, dtype=np.uint8)[:, None, None, None, None]  # (T, N, C, H, W): each step's number
    storage = RawStorage(11, (1, 1, 1))
    replay = Replay(storage, num_envs=1, stack=4, n_step=3, discount=0.5, reward_clip=False)
    no = np.array([False])
    for t in range(7):
        replay.append(
            frames=frames[t],
            actions=np.array([t]),
            rewards=np.array([float(t)]),
            terminal=np.array([t == 4]),
            ended=no,
            final_frames=frames[t],
        )
    batch = replay.sample(500, np.random.default_rng(0))
    rows = {int(action): row for row, action in enumerate(batch.action)}
    assert sorted(rows) == [0, 1, 2, 3, 4]

    assert batch.observation[rows[0]].flatten().tolist() == [0, 0, 0, 0]
    assert batch.reward[rows[0]] == 0 + 0.5 * 1 + 0.25 * 2
    assert batch.discount[rows[0]] == 0.125
    assert batch.next_observation[rows[0]].flatten().tolist() == [0, 1, 2, 3]

    assert batch.reward[rows[3]] == 3 + 0.5 * 4
    assert batch.discount[rows[3]] == 0
    assert batch.next_observation[rows[3]].flatten().tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize(("terminal", "discount"), [(True, 0.0), (False, 0.25)])
def test_truncation_bootstraps_from_the_final_frame_and_a_true_end_does_not(terminal: bool, discount: float) -> None:
    replay = Replay(RawStorage(11, (1, 1, 1)), num_envs=1, stack=2, n_step=3, discount=0.5, reward_clip=True)
    for t in range(5):
        replay.append(
            frames=np.full((1, 1, 1, 1), t, np.uint8),
            actions=np.array([t]),
            rewards=np.array([-7.0]),
            terminal=np.array([t == 2 and terminal]),
            ended=np.array([t == 2]),
            final_frames=np.full((1, 1, 1, 1), 99, np.uint8),
        )
    batch = replay.sample(100, np.random.default_rng(0))
    row = batch.action.tolist().index(1)
    assert batch.reward[row] == -1.5
    assert batch.discount[row] == discount
    assert batch.next_observation[row].flatten().tolist() == [2, 99]
    # The next episode starts with frame 3, and its two steps are not three yet.
    assert sorted(set(batch.action.tolist())) == [0, 1, 2]


def test_float_features_without_a_stack_are_replayed() -> None:
    replay = Replay(
        Lz4Storage(23, (5,), dtype=torch.float32), num_envs=2, stack=1, n_step=1, discount=0.9, reward_clip=False
    )
    generator = np.random.default_rng(0)
    features = generator.standard_normal((3, 2, 5), dtype=np.float32)
    no = np.zeros(2, dtype=np.bool_)
    for t in range(3):
        replay.append(
            frames=features[t],
            actions=np.array([t, t]),
            rewards=np.zeros(2),
            terminal=no,
            ended=no,
            final_frames=features[t],
        )
    batch = replay.sample(7, generator)
    time, env = batch.action.numpy(), batch.slot.numpy() % 2
    assert batch.observation.dtype == torch.float32
    np.testing.assert_array_equal(batch.observation.numpy(), features[time, env])
    np.testing.assert_array_equal(batch.next_observation.numpy(), features[time + 1, env])


def test_mean_age_counts_the_steps_of_all_environments_since_a_transition_was_stored() -> None:
    replay = build(3 * 13, n_step=1)
    feed(replay, random_steps(29, seed=0, end_probability=0.0))
    batch = replay.sample(400, np.random.default_rng(0))
    oldest = min(batch.slot.tolist(), key=lambda slot: -replay.mean_age(torch.tensor([slot])))
    # 13 slots an environment: the newest has no successor yet, the three oldest miss frames of their stack.
    assert replay.mean_age(torch.tensor([oldest])) == 3 * 9
    assert replay.mean_age(batch.slot) == pytest.approx(np.mean([replay.mean_age(slot[None]) for slot in batch.slot]))
    assert {replay.mean_age(slot[None]) for slot in batch.slot} == {3.0 * steps for steps in range(1, 10)}


def test_sampling_before_a_transition_is_complete_is_refused() -> None:
    replay = build()
    generator = np.random.default_rng(0)
    with pytest.raises(RuntimeError, match="the replay holds no complete transition yet: 3 steps"):
        replay.sample(7, generator)
    feed(replay, random_steps(3, seed=0, end_probability=0.0))
    with pytest.raises(RuntimeError, match="no complete transition yet"):
        replay.sample(7, generator)
    feed(replay, random_steps(1, seed=0))
    assert replay.sample(7, generator).reward.shape == (7,)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        replay.sample(0, generator)


def test_a_storage_too_small_for_one_transition_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs stack \+ n_step = 7 slots or more, got 6 for each of 3 environments"):
        build(20)
    assert len(build(21)) == 0


def test_impossible_arguments_are_refused() -> None:
    for name in ("num_envs", "stack", "n_step"):
        arguments = {"num_envs": 3, "stack": 4, "n_step": 3} | {name: 0}
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            Replay(RawStorage(101, FRAME), **arguments, discount=0.9, reward_clip=False)
    with pytest.raises(ValueError, match="stack must be at most 256, got 257"):
        build(3001, stack=257)
    with pytest.raises(ValueError, match=r"discount must be between 0 and 1, got 1\.5"):
        Replay(RawStorage(101, FRAME), num_envs=3, stack=4, n_step=3, discount=1.5, reward_clip=False)
    with pytest.raises(ValueError, match="priorities must have the storage's capacity, got 7 and 101"):
        Replay(
            RawStorage(101, FRAME),
            num_envs=3,
            stack=4,
            n_step=3,
            discount=0.9,
            reward_clip=False,
            priorities=Priorities(7),
        )


def test_frames_of_other_environments_and_actions_that_do_not_fit_are_refused() -> None:
    replay = build()
    step = random_steps(1, seed=0)[0]
    with pytest.raises(ValueError, match="frames must come from 3 environments, got 2"):
        feed(replay, [PlayedStep(*(part[:2] for part in step))])
    with pytest.raises(ValueError, match="actions must be between 0 and 255, got 0 to 256"):
        feed(replay, [step._replace(actions=np.array([0, 256, 3]))])
    swapped = {name: getattr(step, name).swapaxes(2, 3) for name in ("frames", "final_frames", "next_frames")}
    with pytest.raises(ValueError, match=r"frames must have shape \(N, 2, 5, 7\), got \(3, 2, 7, 5\)"):
        feed(replay, [step._replace(**swapped)])


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("frames", np.zeros((3, 2, 7, 5), np.uint8), r"frames must have shape \(N, 2, 5, 7\), got \(3, 2, 7, 5\)"),
        ("frames", np.zeros((3, *FRAME), np.float32), "frames must be uint8, got float32"),
        ("final_frames", np.zeros((3, *FRAME), np.float32), "frames must be uint8, got float32"),
        ("final_frames", np.zeros((2, *FRAME), np.uint8), "frames must come from 3 environments, got 2"),
    ],
)
@pytest.mark.usefixtures("unchecked_signatures")
def test_a_refused_append_changes_nothing(name: str, wrong: np.ndarray, message: str) -> None:
    replay, untouched = build(prioritised=True), build(prioritised=True)
    steps = random_steps(17, seed=0, end_probability=0.5)
    feed(replay, steps[:11])
    feed(untouched, steps[:11])
    with pytest.raises(ValueError, match=message):
        feed(replay, [steps[11]._replace(**{name: wrong})])
    feed(replay, steps[11:])
    feed(untouched, steps[11:])
    state, expected = replay.state_dict(), untouched.state_dict()
    assert torch.equal(state["storage"].pop("items"), expected["storage"].pop("items"))
    assert state.pop("storage") == expected.pop("storage")
    torch.testing.assert_close(state, expected, rtol=0, atol=0)


def test_state_of_another_replay_is_refused() -> None:
    replay = build()
    with pytest.raises(ValueError, match="the saved replay has n_step 1, this one has 3"):
        replay.load_state_dict(build(n_step=1).state_dict())
    with pytest.raises(ValueError, match="the saved replay samples prioritised, this one uniform"):
        replay.load_state_dict(build(prioritised=True).state_dict())
    with pytest.raises(ValueError, match="the saved replay samples uniform, this one prioritised"):
        build(prioritised=True).load_state_dict(replay.state_dict())
