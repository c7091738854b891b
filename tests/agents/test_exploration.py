import numpy as np
import pytest

from agents.exploration import ExplorationConfig, epsilon_greedy, epsilons


def test_epsilon_decays_linearly_and_then_stays():
    config = ExplorationConfig(initial_epsilon=1.0, final_epsilon=0.2, decay_steps=100)
    for step, expected in ((0, 1.0), (25, 0.8), (50, 0.6), (100, 0.2), (10_000, 0.2)):
        np.testing.assert_allclose(epsilons(config, step=step, num_envs=3), [expected] * 3)


def test_a_spread_of_7_gives_the_ladder_of_ape_x():
    config = ExplorationConfig(initial_epsilon=0.4, final_epsilon=0.4, decay_steps=1, spread=7.0)
    expected = [0.4 ** (1 + 7 * i / 4) for i in range(5)]  # Horgan et al. 2018, section 4.1
    np.testing.assert_allclose(epsilons(config, step=7, num_envs=5), expected)


def test_one_environment_has_the_decayed_epsilon_itself():
    config = ExplorationConfig(initial_epsilon=0.4, final_epsilon=0.4, decay_steps=1, spread=7.0)
    np.testing.assert_allclose(epsilons(config, step=7, num_envs=1), [0.4])


def test_each_environment_explores_with_its_own_probability():
    epsilon = np.array([0.0, 0.3, 1.0])
    generator = np.random.default_rng(0)
    draws = np.stack(
        [epsilon_greedy(np.full(3, 4), epsilon=epsilon, num_actions=5, generator=generator) for _ in range(20_000)]
    )
    # An explored action is the greedy one in a fifth of the cases.
    np.testing.assert_allclose((draws != 4).mean(axis=0), epsilon * 0.8, atol=0.01)


def test_environments_toss_their_coins_independently():
    generator = np.random.default_rng(0)
    draws = np.stack(
        [
            epsilon_greedy(np.zeros(2, np.int64), epsilon=np.full(2, 0.5), num_actions=1_000, generator=generator) != 0
            for _ in range(20_000)
        ]
    )
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.03


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"final_epsilon": 1.5}, r"final_epsilon must lie within \[0, 1\], got 1.5"),
        (
            {"initial_epsilon": 0.1, "final_epsilon": 0.2},
            "final_epsilon must be at most initial_epsilon, got 0.2 and 0.1",
        ),
        ({"decay_steps": 0}, "decay_steps must be at least 1, got 0"),
        ({"spread": -1.0}, "spread must not be negative, got -1.0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ExplorationConfig(**settings)
