"""Atari as a sequence: what will be done, earned and seen next, after some steps of stored play?"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64

from .stored_batches import stored_batches
from .task import NOT_SCORED, Batch, Split, TaskSpec

Question = Literal["action", "reward", "feature"]
_NUM_SIGNS = 3  # of a reward: negative, none, positive


class StoredPlay(NamedTuple):
    """Steps in the order in which they were played. The steps of an episode are adjacent and bear its number."""

    features: Float32[np.ndarray, "n f"]  # of the frame before the action
    actions: Int64[np.ndarray, " n"]
    rewards: Float32[np.ndarray, " n"]
    episodes: Int64[np.ndarray, " n"]


class AtariPlay:
    r"""Reads up to `length` steps of an episode and answers one question about what comes next.

    "action": at every step, which action was taken there. "reward": at every step, the sign of what its action earned
    (0 negative, 1 none, 2 positive). "feature": once, the features of the frame after the last step. A step is given by
    its frame's features, an action (one-hot) and the sign of the reward of the step before; the action is that of the
    step itself, but that of the step before where it is asked for. Episodes are cut into consecutive rows.

    >>> features = np.linspace(-1, 1, 5, dtype=np.float32)[:, None]
    >>> actions, rewards = np.array([1, 0, 1, 1, 0]), np.array([0, 5, 0, -1, 0], dtype=np.float32)
    >>> play = StoredPlay(features, actions, rewards, episodes=np.zeros(5, dtype=np.int64))
    >>> task = AtariPlay({"train": play, "test": play}, num_actions=2, length=4, question="reward")
    >>> batch = next(task.batches("test", batch_size=1, seed=0))
    >>> print(*batch.inputs[0].tolist(), batch.targets[0].tolist(), sep="\n")
    [-1.0, 0.0, 1.0, 0.0]
    [-0.5, 1.0, 0.0, 0.0]
    [0.0, 0.0, 1.0, 1.0]
    [0.5, 0.0, 1.0, 0.0]
    [1, 2, 1, 0]
    """

    def __init__(self, play: dict[Split, StoredPlay], *, num_actions: int, length: int, question: Question) -> None:
        most = max(int(part.actions.max()) for part in play.values())
        if most >= num_actions:
            raise ValueError(f"actions must be below num_actions={num_actions}, got {most}")
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        self._play = play
        self._num_actions = num_actions
        self._question: Question = question
        self._rows = {split: _rows(part.episodes, length) for split, part in play.items()}
        num_features = play["train"].features.shape[1]
        self.spec = TaskSpec(
            name="atari",
            input="values",
            num_inputs=num_features + num_actions + 1,
            output="regression" if question == "feature" else "per_position",
            num_outputs={"action": num_actions, "reward": _NUM_SIGNS, "feature": num_features}[question],
            max_length=length,
            metric="mean_squared_error" if question == "feature" else "accuracy",
            chance=self._chance(play["train"]),
        )

    def batches(self, split: Split, *, batch_size: int, seed: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yields the batches of a split, as in Task."""
        play, (starts, lengths) = self._play[split], self._rows[split]

        def gather(rows: Int64[np.ndarray, " b"]) -> Batch:
            return self._gather(play, starts[rows], lengths[rows])

        members: dict[Split, Int64[np.ndarray, " n"]] = {split: np.arange(len(starts))}
        return stored_batches(gather, members, split, batch_size=batch_size, seed=seed, first_batch=first_batch)

    def _chance(self, play: StoredPlay) -> float:
        """Returns the share of the most frequent answer, or the variance of the features."""
        if self._question == "feature":
            return float(play.features.var(axis=0).mean())
        answers = play.actions if self._question == "action" else _signs(play.rewards)
        return float(np.bincount(answers).max() / len(answers))

    def _gather(self, play: StoredPlay, starts: Int64[np.ndarray, " b"], lengths: Int64[np.ndarray, " b"]) -> Batch:
        position = np.arange(lengths.max())
        inside = position < lengths[:, None]  # (b, l)
        step = np.where(inside, starts[:, None] + position, 0)
        before = np.where(inside & (position > 0), step - 1, -1)  # -1: there is none in this row
        acted = (
            np.where(inside, play.actions[step], -1) if self._question != "action" else _at(play.actions, before, -1)
        )
        earned = _at(_signs(play.rewards), before, 1) - 1
        inputs = np.concatenate(
            [play.features[step], acted[..., None] == np.arange(self._num_actions), earned[..., None]],
            axis=2,
            dtype=np.float32,
        )
        if self._question == "feature":
            targets = play.features[starts + lengths]
        else:
            answers = play.actions if self._question == "action" else _signs(play.rewards)
            targets = np.where(inside, answers[step], NOT_SCORED)
        return Batch(
            inputs=torch.from_numpy(inputs * inside[..., None]),
            lengths=torch.from_numpy(lengths),
            targets=torch.from_numpy(targets),
        )


def _rows(
    episodes: Int64[np.ndarray, " n"], length: int
) -> tuple[Int64[np.ndarray, " rows"], Int64[np.ndarray, " rows"]]:
    """Returns where rows begin and how long they are. An episode's last step is in none: nothing is seen after it."""
    edges = np.flatnonzero(np.diff(episodes)) + 1
    begins = np.concatenate([[0], edges])
    ends = np.concatenate([edges, [len(episodes)]]) - 1
    starts = np.concatenate([np.arange(begin, end, length) for begin, end in zip(begins, ends, strict=True)])
    last = np.concatenate(
        [np.full(len(range(begin, end, length)), end) for begin, end in zip(begins, ends, strict=True)]
    )
    if not len(starts):
        raise ValueError("no episode of the stored play has two steps")
    return starts, np.minimum(length, last - starts)


def _signs(rewards: Float32[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    signs: Int64[np.ndarray, " n"] = np.sign(rewards).astype(np.int64) + 1
    return signs


def _at(values: Int64[np.ndarray, " n"], step: Int64[np.ndarray, "b l"], missing: int) -> Int64[np.ndarray, "b l"]:
    """Returns the values at these steps, and `missing` at step -1."""
    return np.where(step >= 0, values[step], missing)
