"""The names under which Gymnasium makes these environments: cartridge/Pong-v0 and every other game, cartridge/Catch-v0.

`gym.make("envs:cartridge/Catch-v0")` imports this package first; after `import envs` the part before the colon can be
left out. `gym.make` and `gym.make_vec` take the fields of AtariConfig, or of Catch, as keyword arguments.
"""

from typing import Any

import gymnasium as gym

from .atari import AtariConfig, make_atari, make_atari_vector
from .atari_games import ATARI_GAMES
from .seeded_episodes import SeededEpisodes


def register_all() -> None:
    """Registers every environment of this package with Gymnasium, under "cartridge/"."""
    for game in ATARI_GAMES:
        gym.register(
            id=f"cartridge/{game}-v0",
            entry_point="envs.registration:make_registered_atari",
            vector_entry_point="envs.registration:make_registered_atari_vector",
            kwargs={"game": game},
        )
    gym.register(
        id="cartridge/Catch-v0",
        entry_point="envs.catch:Catch",
        vector_entry_point="envs.catch:make_catch_vector",
    )


def make_registered_atari(*, stack: int = 4, render_mode: str | None = None, **rules: Any) -> gym.Env[Any, Any]:
    """Returns `make_atari` with the rules given one by one, as `gym.make` does."""
    return make_atari(AtariConfig(**rules), stack=stack, render_mode=render_mode)


def make_registered_atari_vector(*, num_envs: int, num_threads: int = 0, seed: int = 0, **rules: Any) -> SeededEpisodes:
    """Returns `make_atari_vector` with the rules given one by one, as `gym.make_vec` does."""
    return make_atari_vector(AtariConfig(**rules), num_envs=num_envs, num_threads=num_threads, seed=seed)
