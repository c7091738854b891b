"""Gymnasium environments: Atari games, single and in C++ vectors, and Catch, a pixel game that needs no ROM.

Importing this package registers them all with Gymnasium, under "cartridge/".
"""

from .atari import AtariConfig, make_atari, make_atari_vector
from .atari_games import ATARI_GAMES
from .catch import Catch, make_catch_vector
from .registration import register_all
from .seeded_episodes import SeededEpisodes

__all__ = [
    "ATARI_GAMES",
    "AtariConfig",
    "Catch",
    "SeededEpisodes",
    "make_atari",
    "make_atari_vector",
    "make_catch_vector",
]

register_all()
