"""The console's memory: the 128 bytes that are a game's whole state, and what some of them mean.

Which byte holds what is known from AtariARI (Anand et al. 2019, "Unsupervised State Representation Learning in Atari").
Every variable below was checked against the emulator and is again by tests/envs/test_ram.py: where the byte is
written, the object is drawn elsewhere, the score jumps, a life is gone. docs/frames.md lists what did not pass.

Bytes count in the game's own units: a position's is a pixel of the 210x160 screen plus a constant, in most games.
Scores are binary-coded decimals, two digits a byte.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np
from jaxtyping import Bool, Float64, UInt8

RAM_BYTES = 128

# The categories over which Anand et al. 2019 average, table 2.
Category = Literal["agent", "small object", "other object", "score, clock, lives", "miscellaneous"]


@dataclass(frozen=True)
class RamVariable:
    """What one byte of the console's memory says of a game."""

    name: str
    byte: int
    category: Category
    axis: Literal["x", "y"] | None = None
    """Along which it is the position of something; None where it is no position."""

    @property
    def is_small_object(self) -> bool:
        """Whether it is the position of a thing of a few pixels: a ball, a missile."""
        return self.category == "small object"


def _agent(x: int | None, y: int | None) -> tuple[RamVariable, ...]:
    return _positions("player", x, y, "agent")


def _positions(name: str, x: int | None, y: int | None, category: Category) -> tuple[RamVariable, ...]:
    along_x = () if x is None else (RamVariable(f"{name}_x", x, category, "x"),)
    along_y = () if y is None else (RamVariable(f"{name}_y", y, category, "y"),)
    return along_x + along_y


def _row(name: str, first: int, number: int, category: Category, axis: Literal["x", "y"]) -> tuple[RamVariable, ...]:
    return tuple(RamVariable(f"{name}_{i}_{axis}", first + i, category, axis) for i in range(number))


def _counts(**byte_of: int) -> tuple[RamVariable, ...]:
    return tuple(RamVariable(name, byte, "score, clock, lives") for name, byte in byte_of.items())


def _others(name: str, byte: Iterable[int]) -> tuple[RamVariable, ...]:
    return tuple(RamVariable(f"{name}_{i}", one, "miscellaneous") for i, one in enumerate(byte))


# Qbert's cubes, row by row from the top.
_QBERT_CUBES = (21, 52, 54, 83, 85, 87, 98, 100, 102, 104, 1, 3, 5, 7, 9, 32, 34, 36, 38, 40, 42)

RAM_VARIABLES: dict[str, tuple[RamVariable, ...]] = {
    "Boxing": (
        *_agent(32, 34),
        *_positions("enemy", 33, 35, "other object"),
        *_counts(player_score=18, enemy_score=19, clock_seconds=17),
    ),
    "Breakout": (
        *_agent(72, None),
        *_positions("ball", 99, 101, "small object"),
        *_counts(score_hundreds=76, score_ones=77, lives=57),
        *_others("blocks", range(30)),
    ),
    "Freeway": (
        *_agent(None, 14),
        *_row("car", 108, 10, "other object", "x"),
        *_counts(score=103),
    ),
    "MsPacman": (
        *_agent(10, 16),
        *_positions("sue", 6, 12, "other object"),
        *_positions("inky", 7, 13, "other object"),
        *_positions("pinky", 8, 14, "other object"),
        *_positions("blinky", 9, 15, "other object"),
        *_counts(score_ones=120, score_hundreds=121, score_ten_thousands=122, lives=123, dots_eaten=119),
        RamVariable("player_direction", 56, "miscellaneous"),
    ),
    "Pong": (
        *_agent(None, 51),
        *_positions("enemy", None, 50, "other object"),
        *_positions("ball", 49, 54, "small object"),
        *_counts(player_score=14, enemy_score=13),
    ),
    "Qbert": (
        *_agent(43, 67),
        *_counts(score_ones=91, score_hundreds=90, score_ten_thousands=89),
        *_others("cube", _QBERT_CUBES),
    ),
    "Seaquest": (
        *_agent(70, 97),
        *_positions("player_missile", 103, None, "small object"),
        *_row("diver_or_enemy_missile", 71, 4, "small object", "x"),
        *_row("enemy", 30, 4, "other object", "x"),
        *_counts(score_ones=58, score_hundreds=57, score_ten_thousands=56, lives=59, oxygen=102, divers=62),
        RamVariable("player_direction", 86, "miscellaneous"),
    ),
    "SpaceInvaders": (
        *_agent(28, None),
        *_positions("player_missile", 87, 85, "small object"),
        *_positions("invader_missile_0", 83, 81, "small object"),
        *_positions("invader_missile_1", 84, 82, "small object"),
        *_positions("invaders", 26, None, "other object"),
        *_counts(score_ones=104, score_hundreds=102, lives=73, invaders_left=17),
    ),
}
"""The named variables of each game, in the spelling of ATARI_GAMES."""


def console_ram(env: gym.Env[Any, Any]) -> UInt8[np.ndarray, " 128"]:
    """Returns the whole memory as it is after the last frame of an environment made by `make_atari`, in a new array.

    Raises TypeError for an environment without an emulator inside.
    """
    emulator = getattr(env.unwrapped, "ale", None)
    if emulator is None:
        raise TypeError(f"only an Atari environment has the console's memory, got {env.unwrapped}")
    memory: np.ndarray = emulator.getRAM()
    return memory


def ram_variables(game: str) -> tuple[RamVariable, ...]:
    """Returns the named variables of a game; raises ValueError, listing the games that have some, for another."""
    if game not in RAM_VARIABLES:
        raise ValueError(f"there are no named state variables of {game!r}, only of {', '.join(RAM_VARIABLES)}")
    return RAM_VARIABLES[game]


class BallPosition(NamedTuple):
    """Where Pong's ball is in a frame, for each of n states."""

    row: Float64[np.ndarray, " n"]  # of its centre, in pixels from the top edge of the frame
    column: Float64[np.ndarray, " n"]
    in_play: Bool[np.ndarray, " n"]  # otherwise there is none, and row and column mean nothing


def pong_ball(ram: UInt8[np.ndarray, "n 128"], *, frame_size: int = 84) -> BallPosition:
    """Returns where the ball of Pong is in frames shrunk to frame_size x frame_size pixels.

    On the screen of 160x210 it is 2x4 pixels between (byte 49) - 49 and - 47 from the left, and between (byte 54) - 14
    and - 10 from the top; the playing field is the rows from 34 to 194.
    """
    left = ram[:, 49].astype(np.float64) - 49
    top = ram[:, 54].astype(np.float64) - 14
    return BallPosition(
        row=(top + 2) * frame_size / 210,
        column=(left + 1) * frame_size / 160,
        in_play=(top >= 34) & (top <= 190) & (left >= 0) & (left <= 158),
    )
