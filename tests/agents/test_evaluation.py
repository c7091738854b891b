"""Evaluation over full games, on a counting game whose scores are known beforehand."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from agents.evaluation import Evaluation, evaluate

NUM_ACTIONS = 3


class CountingGames(gym.vector.VectorEnv[Any, Any, Any]):
    """Game number i of environment e lasts `lengths[e][i]` steps; action a scores a; the frame counts the steps.

    The last step of a length given as negative is a time limit.
    """

    def __init__(self, lengths: list[list[int]], num_actions: int = NUM_ACTIONS) -> None:
        self.num_envs = len(lengths)
        self.single_action_space = gym.spaces.Discrete(num_actions)
        self.single_observation_space = gym.spaces.Box(0, 255, (1, 2, 5), np.uint8)
        self.seeds: list[int | None] = []
        self._lengths = lengths

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.seeds.append(seed)
        self._games = np.zeros(self.num_envs, int)
        self._steps = np.zeros(self.num_envs, int)
        return self._frames(), {}

    def step(self, actions: Any) -> Any:
        self._steps += 1
        length = np.array([env[game % len(env)] for env, game in zip(self._lengths, self._games, strict=True)])
        ended = self._steps == abs(length)
        self._games += ended
        self._steps[ended] = 0
        return self._frames(), actions.astype(np.float32), ended & (length > 0), ended & (length < 0), {}

    def _frames(self) -> np.ndarray:
        return np.tile(self._steps.astype(np.uint8)[:, None, None, None], (1, 1, 2, 5))


class ConstantAgent:
    """Takes one action, and keeps what it was shown."""

    def __init__(self, action: int = 2) -> None:
        self.seen: list[Tensor] = []
        self._action = action

    def act(self, observations: Tensor) -> Tensor:
        self.seen.append(observations.clone())
        return torch.full((len(observations),), self._action)


def played(lengths: list[list[int]], *, num_games: int, agent: Any = None, **kwargs: Any) -> Evaluation:
    arguments = {"stack": 4, "seed": 7, "epsilon": 0.0} | kwargs
    return evaluate(agent or ConstantAgent(), CountingGames(lengths), num_games=num_games, **arguments)


def test_scores_and_lengths_are_those_of_full_games() -> None:
    evaluation = played([[3], [5]], num_games=2)
    assert evaluation.returns == (6.0, 10.0)
    assert evaluation.lengths == (3, 5)
    assert evaluation.truncated == (False, False)


def test_short_games_are_not_counted_more_often_than_long_ones() -> None:
    # By the time environment 1 ends its second game, environment 0 has ended 20: only its first two count.
    evaluation = played([[2], [20]], num_games=4)
    assert evaluation.lengths == (2, 20, 2, 20)


def test_exactly_the_games_asked_for_are_played_when_they_do_not_fill_the_environments() -> None:
    assert played([[2, 3], [4, 9], [7, 9]], num_games=4).lengths == (2, 4, 7, 3)
    assert played([[2], [4], [7]], num_games=2).lengths == (2, 4)


def test_a_time_limit_is_marked() -> None:
    assert played([[-3], [3]], num_games=2).truncated == (True, False)


def test_the_agent_sees_stacks_that_begin_with_the_first_frame_repeated() -> None:
    agent = ConstantAgent()
    played([[3]], num_games=2, agent=agent)
    counted = [observation[0, :, 0, 0].tolist() for observation in agent.seen]
    one_game = [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 2]]
    assert counted == one_game * 2


def test_frames_of_another_type_reach_the_agent_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CountingGames, "_frames", lambda games: games._steps[:, None].astype(np.float32) / 2)
    agent = ConstantAgent()
    played([[3]], num_games=1, agent=agent)
    assert torch.equal(torch.cat(agent.seen), torch.tensor([[0, 0, 0, 0], [0, 0, 0, 0.5], [0, 0, 0.5, 1]]))


def test_the_agent_is_asked_only_about_games_that_count() -> None:
    agent = ConstantAgent()
    played([[2], [6]], num_games=2, agent=agent)
    assert [len(observations) for observations in agent.seen] == [2, 2, 1, 1, 1, 1]


def test_epsilon_is_the_share_of_random_actions() -> None:
    # A third of the random actions is the agent's own: half of the steps are random, so 1/3 score 0 or 1.
    evaluation = played([[6_000]], num_games=1, epsilon=0.5)
    expected = 6_000 * (0.5 * 2 + 0.5 * 1)
    assert evaluation.mean == pytest.approx(expected, rel=0.03)


def test_the_same_seed_plays_the_same_games_and_another_seed_others() -> None:
    lengths = [[50], [40]]
    first, again = (played(lengths, num_games=2, epsilon=0.5) for _ in range(2))
    assert first == again
    assert first.returns != played(lengths, num_games=2, epsilon=0.5, seed=8).returns


def test_the_seed_is_passed_on_to_the_games() -> None:
    envs = CountingGames([[2]])
    evaluate(ConstantAgent(), envs, num_games=1, stack=4, seed=11)
    assert envs.seeds == [11]


def test_statistics_are_over_the_games() -> None:
    evaluation = played([[1], [2], [3], [10]], num_games=4)
    assert (evaluation.mean, evaluation.median, evaluation.interquartile_mean) == (8.0, 5.0, 5.0)
    interval = evaluation.mean_interval()
    assert interval is not None
    assert 2.0 <= interval.low < 8.0 < interval.high <= 20.0
    assert played([[3]], num_games=1).mean_interval() is None


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="num_games must be at least 1, got 0"):
        played([[2]], num_games=0)
    with pytest.raises(ValueError, match=r"epsilon must fall within \[0, 1\], got 1.5"):
        played([[2]], num_games=1, epsilon=1.5)
