"""Human-normalised scores."""

import gymnasium as gym
import pytest

from agents.human_normalised import REFERENCE_SCORES, human_normalised_score


def test_random_play_is_zero_and_the_human_tester_is_one() -> None:
    for game, reference in REFERENCE_SCORES.items():
        assert human_normalised_score(game, reference.random) == 0.0
        assert human_normalised_score(game, reference.human) == 1.0


def test_a_published_score_normalises_to_the_published_number() -> None:
    # Breakout 401.2 (DQN, Mnih et al. 2015) against random 1.7 and human 30.5: 399.5 / 28.8.
    assert human_normalised_score("Breakout", 401.2) == pytest.approx(13.8715, abs=1e-4)
    assert human_normalised_score("Pong", -3.05) == pytest.approx(0.5)


def test_the_games_are_the_57_of_the_literature_under_their_names_in_the_emulator() -> None:
    import ale_py

    gym.register_envs(ale_py)
    known = {name.removeprefix("ALE/").removesuffix("-v5") for name in gym.registry if name.startswith("ALE/")}
    assert len(REFERENCE_SCORES) == 57
    assert set(REFERENCE_SCORES) <= known


def test_a_game_without_human_scores_has_no_normalised_score() -> None:
    assert human_normalised_score("Tetris", 1.0) is None
