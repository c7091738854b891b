"""Rows of stored play, checked step by step against plain loops over episodes."""

import numpy as np
import pytest

from seqmodels.tasks import NOT_SCORED, Task
from seqmodels.tasks.atari import AtariPlay, StoredPlay

NUM_ACTIONS, NUM_FEATURES, LENGTH = 3, 2, 5
EPISODE_LENGTHS = (13, 1, 6, 2)


def stored_play(seed=0):
    generator = np.random.default_rng(seed)
    number = sum(EPISODE_LENGTHS)
    return StoredPlay(
        features=generator.uniform(-1, 1, size=(number, NUM_FEATURES)).astype(np.float32),
        actions=generator.integers(0, NUM_ACTIONS, size=number),
        rewards=generator.integers(-1, 2, size=number).astype(np.float32) * 7,
        episodes=np.repeat([4, 5, 8, 2], EPISODE_LENGTHS),
    )


def slow_rows():
    """Returns (first step, length) of every row: consecutive parts of an episode without its last step."""
    rows, begin = [], 0
    for length in EPISODE_LENGTHS:
        rows += [(begin + first, min(LENGTH, length - 1 - first)) for first in range(0, length - 1, LENGTH)]
        begin += length
    return rows


def all_rows(question):
    task = AtariPlay({"train": stored_play(1), "test": stored_play()}, num_actions=3, length=LENGTH, question=question)
    assert isinstance(task, Task)
    (batch,) = task.batches("test", batch_size=100, seed=0)
    return task, batch


@pytest.mark.parametrize("question", ["action", "reward", "feature"])
def test_a_step_shows_its_frame_an_action_and_the_reward_before(question):
    play = stored_play()
    _, batch = all_rows(question)
    assert batch.lengths.tolist() == [length for _, length in slow_rows()]
    for row, (start, length) in enumerate(slow_rows()):
        for t in range(length):
            step = start + t
            acted = step if question != "action" else step - 1
            known = t > 0 or question != "action"
            one_hot = [float(known and play.actions[acted] == action) for action in range(NUM_ACTIONS)]
            earned = float(np.sign(play.rewards[step - 1])) if t > 0 else 0.0
            expected = [*play.features[step].tolist(), *one_hot, earned]
            assert batch.inputs[row, t].tolist() == expected
        assert (batch.inputs[row, length:] == 0).all()


def test_every_step_asks_for_its_own_action_or_reward():
    play = stored_play()
    for question, answers in (("action", play.actions), ("reward", np.sign(play.rewards).astype(int) + 1)):
        _, batch = all_rows(question)
        for row, (start, length) in enumerate(slow_rows()):
            expected = [*answers[start : start + length].tolist(), *[NOT_SCORED] * (LENGTH - length)]
            assert batch.targets[row].tolist() == expected


def test_the_feature_asked_for_is_that_of_the_next_frame_of_the_episode():
    play = stored_play()
    task, batch = all_rows("feature")
    for target, (start, length) in zip(batch.targets, slow_rows(), strict=True):
        assert target.tolist() == play.features[start + length].tolist()
        assert play.episodes[start + length] == play.episodes[start]
    assert task.spec.output == "regression"


def test_chance_is_the_most_frequent_answer_of_training_or_the_variance_of_features():
    train = stored_play(1)
    assert all_rows("action")[0].spec.chance == pytest.approx(np.bincount(train.actions).max() / len(train.actions))
    signs = np.sign(train.rewards)
    most = max((signs == sign).mean() for sign in (-1, 0, 1))
    assert all_rows("reward")[0].spec.chance == pytest.approx(most)
    assert all_rows("feature")[0].spec.chance == pytest.approx(train.features.var(axis=0).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_actions": 2, "length": 5}, "actions must be below num_actions=2, got 2"),
        ({"num_actions": 3, "length": 0}, "length must be at least 1, got 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AtariPlay({"train": stored_play()}, question="action", **options)


def test_play_without_a_second_step_is_refused():
    play = stored_play()._replace(episodes=np.arange(sum(EPISODE_LENGTHS)))
    with pytest.raises(ValueError, match="no episode of the stored play has two steps"):
        AtariPlay({"train": play}, num_actions=3, length=5, question="action")
