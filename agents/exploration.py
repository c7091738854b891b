"""Epsilon-greedy action choice, with an epsilon and a coin for every environment."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

Actions = Int[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True)
class ExplorationConfig:
    """Linear decay of epsilon, and how it is spread over the environments."""

    initial_epsilon: float = 1.0
    final_epsilon: float = 0.1  # Mnih et al. 2015, Extended Data table 1
    decay_steps: int = 1_000_000  # environment steps, all environments counted
    spread: float = (
        0.0  # 0: all environments share one epsilon; 7: the ladder of Ape-X (Horgan et al. 2018, section 4.1)
    )

    def __post_init__(self) -> None:
        for name in ("initial_epsilon", "final_epsilon"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie within [0, 1], got {getattr(self, name)}")
        if self.final_epsilon > self.initial_epsilon:
            raise ValueError(
                f"final_epsilon must be at most initial_epsilon, got {self.final_epsilon} and {self.initial_epsilon}"
            )
        if self.decay_steps < 1:
            raise ValueError(f"decay_steps must be at least 1, got {self.decay_steps}")
        if self.spread < 0:
            raise ValueError(f"spread must not be negative, got {self.spread}")


def epsilons(config: ExplorationConfig, *, step: int, num_envs: int) -> Float[np.ndarray, " n"]:
    """Returns the epsilon of every environment after `step` environment steps.

    With e the linearly decayed value, environment i of N gets e^(1 + spread * i / (N - 1)): environment 0 explores
    most, the last one least, as in Ape-X.
    """
    fraction = min(step / config.decay_steps, 1.0)
    epsilon = config.initial_epsilon + fraction * (config.final_epsilon - config.initial_epsilon)
    ladder = np.linspace(0.0, 1.0, num_envs) if num_envs > 1 else np.zeros(1)
    return np.asarray(epsilon ** (1.0 + config.spread * ladder))


def epsilon_greedy(
    greedy: Actions, *, epsilon: Float[np.ndarray, " n"], num_actions: int, generator: np.random.Generator
) -> Actions:
    """Replaces each action, with its environment's own probability and coin, by a uniformly drawn one."""
    explore = generator.random(len(greedy)) < epsilon
    random_actions = generator.integers(num_actions, size=len(greedy))
    return np.where(explore, random_actions, greedy)
