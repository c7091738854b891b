"""The replay: what was seen, done and earned, each frame stored once, and batches of n-step transitions from it."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64, Integer, Shaped, UInt8
from torch import Tensor

from ..transition import TransitionBatch
from .episode_ring import ENDED, FINAL, TERMINAL, EpisodeRing, NStepWindow
from .frame_storage import FrameStorage, check_items
from .priorities import Priorities


class Replay:
    """Stores the steps of `num_envs` environments and samples n-step transitions between stacks of frames.

    Every observation is written once, into a ring per environment of storage.capacity // num_envs slots; an episode
    that ends takes one slot more, for its final frame. Stacks, n-step sums and next observations are gathered when a
    batch is sampled, and never reach across an episode's edge:

    - the stack at an episode's start repeats its first frame;
    - the n-step sum stops at a terminal step (discount 0), and at an episode's end (discount gamma^k, for k <= n steps
      taken, with the final frame as newest of the next observation): truncation bootstraps by construction.

    Sampling is uniform over all transitions of all environments, or in proportion to `priorities` where given.
    Rewards are stored as they come; with `reward_clip` their signs are summed (Mnih et al. 2015, Methods).
    """

    def __init__(
        self,
        storage: FrameStorage,
        *,
        num_envs: int,
        stack: int,
        n_step: int,
        discount: float,
        reward_clip: bool,
        priorities: Priorities | None = None,
    ) -> None:
        if not 0.0 <= discount <= 1.0:
            raise ValueError(f"discount must be between 0 and 1, got {discount}")
        if priorities is not None and priorities.capacity != storage.capacity:
            raise ValueError(
                f"priorities must have the storage's capacity, got {priorities.capacity} and {storage.capacity}"
            )
        self.num_envs = num_envs
        self.stack = stack
        self.n_step = n_step
        self.discount = discount
        self.reward_clip = reward_clip
        self._storage = storage
        self._priorities = priorities
        self._ring = EpisodeRing(storage.capacity, num_envs=num_envs, stack=stack, n_step=n_step)
        self._action = np.zeros(self._ring.size, dtype=np.uint8)
        self._reward = np.zeros(self._ring.size, dtype=np.float32)
        self._num_samplable = 0

    def __len__(self) -> int:
        """Returns the number of transitions that can be sampled now."""
        return self._num_samplable

    def append(
        self,
        *,
        frames: Shaped[np.ndarray, "n *item"],
        actions: Integer[np.ndarray, " n"],
        rewards: Float[np.ndarray, " n"],
        terminal: Bool[np.ndarray, " n"],
        ended: Bool[np.ndarray, " n"],
        final_frames: Shaped[np.ndarray, "n *item"],
    ) -> None:
        """Stores one step of every environment: the frame before the action, the action, and what came of it.

        `terminal`: the value after this step is zero (a true end; a life lost, if the learner says so). `ended`: the
        episode is over after this step, so the next frame begins another; where it is not terminal too, the episode
        was truncated. `final_frames` are the frames after the step, read only where the episode ended.
        """
        for items in (frames, final_frames):  # all of them before the first is written
            if len(items) != self.num_envs:
                raise ValueError(f"frames must come from {self.num_envs} environments, got {len(items)}")
            check_items(items, self._storage.item_shape, self._storage.dtype)
        if actions.min() < 0 or actions.max() > 255:
            raise ValueError(f"actions must be between 0 and 255, got {actions.min()} to {actions.max()}")
        envs = np.arange(self.num_envs)
        self._write(envs, frames, actions, rewards, TERMINAL * terminal | ENDED * ended)
        over = np.flatnonzero(ended)
        if len(over):
            nothing = np.zeros(len(over), dtype=np.uint8)
            self._write(over, final_frames[over], nothing, nothing.astype(np.float32), nothing | FINAL)

    def _write(
        self,
        envs: Int64[np.ndarray, " n"],
        frames: Shaped[np.ndarray, "n *item"],
        actions: Integer[np.ndarray, " n"],
        rewards: Float[np.ndarray, " n"],
        flags: UInt8[np.ndarray, " n"],
    ) -> None:
        """Writes one slot for each of these environments."""
        change = self._ring.advance(envs, flags)
        self._storage.write(change.slot, frames)
        self._action[change.slot] = actions
        self._reward[change.slot] = rewards
        self._num_samplable += len(change.admitted) - len(change.retired)
        if self._priorities is not None:
            self._priorities.retire(change.retired)
            self._priorities.admit(change.admitted)

    def sample(
        self, batch_size: int, generator: np.random.Generator, *, importance_exponent: float = 0.4
    ) -> TransitionBatch:
        """Returns `batch_size` transitions, drawn with replacement, in new tensors on the storage's device.

        Weights are (len(self) * P)^-importance_exponent over their maximum in the batch (Schaul et al. 2016, section
        3.4, whose first exponent is the default); all 1 without priorities. `slot` stays on the host. Raises
        RuntimeError when there is nothing to sample yet.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if not self._num_samplable:
            raise RuntimeError(
                f"the replay holds no complete transition yet: {self.n_step} steps of an environment or an "
                "episode's end, and the observation after it, must be appended before sampling"
            )
        if self._priorities is None:
            start = self._draw_uniformly(batch_size, generator)
            weight = np.ones(batch_size)
        else:
            start, probability = self._priorities.draw(batch_size, generator)
            weight = (self._num_samplable * probability) ** -importance_exponent
        return self._gather(start, weight / weight.max())

    def _draw_uniformly(self, batch_size: int, generator: np.random.Generator) -> Int64[np.ndarray, " b"]:
        """Draws samplable slots by rejection: nearly all written slots are samplable, so few rounds are needed."""
        accepted: list[Int64[np.ndarray, " n"]] = []
        missing = batch_size
        while missing:
            slot = generator.integers(self._ring.used, size=missing)
            accepted.append(slot[self._ring.samplable[slot]])
            missing -= len(accepted[-1])
        return np.concatenate(accepted)

    def _gather(self, start: Int64[np.ndarray, " b"], weight: Float[np.ndarray, " b"]) -> TransitionBatch:
        """Returns the transitions that start at these samplable slots."""
        window = self._ring.window(start)
        stacks = self._ring.stack_slots(np.concatenate([start, window.next_slot]))  # (2b, S)
        # One read for both observations: a storage that decodes frames does so once for those that they share.
        channels, *rest = self._storage.item_shape
        items = self._storage.read(stacks.reshape(-1)).view(2 * len(start), self.stack * channels, *rest)
        discount = np.where(window.terminal, 0.0, self._powers()[window.num_steps])
        return TransitionBatch(
            observation=items[: len(start)],
            action=torch.from_numpy(self._action[start].astype(np.int64)),
            reward=torch.from_numpy(self._n_step_reward(window)),
            discount=torch.from_numpy(discount.astype(np.float32)),
            next_observation=items[len(start) :],
            weight=torch.from_numpy(weight.astype(np.float32)),
            slot=torch.from_numpy(start),
        ).to(self._storage.device)

    def _n_step_reward(self, window: NStepWindow) -> Float[np.ndarray, " b"]:
        """Returns the discounted sum of rewards, added in the order of the steps, in float64 until the end."""
        reward = self._reward[window.slot].astype(np.float64)  # (n_step, b)
        if self.reward_clip:
            reward = np.sign(reward)
        total = np.zeros(reward.shape[1])
        for power, step_reward, taken in zip(self._powers()[:-1], reward, window.taken, strict=True):
            total += np.where(taken, power * step_reward, 0.0)
        return total.astype(np.float32)

    def _powers(self) -> Float[np.ndarray, " powers"]:
        """Returns gamma^0 .. gamma^n."""
        return np.array([self.discount**k for k in range(self.n_step + 1)])

    def set_priorities(self, slot: Int[Tensor, " b"], td_error: Float[Tensor, " b"] | Float[np.ndarray, " b"]) -> None:
        """Sets the priorities of sampled transitions from their TD errors; does nothing when sampling uniformly.

        Call it before the next append, after which a slot may hold another transition; one that holds none is left
        alone.
        """
        if self._priorities is None:
            return
        slots = slot.cpu().numpy()
        error = td_error.detach().cpu().float().numpy() if isinstance(td_error, Tensor) else td_error
        still_there = self._ring.samplable[slots]
        self._priorities.update(slots[still_there], error[still_there])

    def mean_age(self, slot: Int[Tensor, " b"]) -> float:
        """Returns how long ago these transitions were stored on average, in steps of all environments together.

        An episode's final frame counts as a step. Ask before the next append.
        """
        return float(self._ring.steps_since(slot.numpy()).mean() * self.num_envs)

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that was stored, as tensors, numbers and dicts of them.

        Frames in host memory, actions and rewards share memory with the replay, so that saving a large one takes no
        second one: write them out, or copy them, before the next append. LZ4's frames, a GPU's and the priorities are
        copies.
        """
        used = self._ring.used
        return {
            "ring": self._ring.state_dict(),
            "storage": self._storage.state_dict(used),
            "action": torch.from_numpy(self._action[:used]),
            "reward": torch.from_numpy(self._reward[:used]),
            "priorities": None if self._priorities is None else self._priorities.state_dict(used),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned, from a replay built with the same arguments."""
        if (state["priorities"] is None) != (self._priorities is None):
            saved, here = ("uniform" if p is None else "prioritised" for p in (state["priorities"], self._priorities))
            raise ValueError(f"the saved replay samples {saved}, this one {here}")
        self._ring.load_state_dict(state["ring"])
        self._storage.load_state_dict(state["storage"])
        used = self._ring.used
        self._action[:used] = state["action"].numpy()
        self._reward[:used] = state["reward"].numpy()
        self._num_samplable = int(self._ring.samplable.sum())
        if self._priorities is not None:
            self._priorities.load_state_dict(state["priorities"])
