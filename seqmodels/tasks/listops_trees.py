"""Grows ListOps expressions: nested lists of digits under MIN, MAX, MED and SM, by the Long Range Arena's rules.

All trees of a group grow together, level by level: a level is one array of nodes in which the children of a node stand
side by side, so that lengths and values of subtrees are sums and minima over adjacent entries of the level below.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Integer, UInt8

from .ragged_tokens import RaggedTokens

# Token 0 is padding. A bracket has a token of its own on either side: the operator opens, CLOSE closes.
DIGIT = 1  # the digit v is token DIGIT + v
OPERATOR = 11  # and these, in this order
OPERATOR_NAMES = ("MIN", "MAX", "MED", "SM")
CLOSE = 15
NUM_TOKENS = 16

_MEDIAN = OPERATOR_NAMES.index("MED")


@dataclass(frozen=True, kw_only=True)
class ListOpsShape:
    """Which trees there are. The defaults are LRA's (lra_benchmarks/data/listops.py).

    A node above max_depth (the root has depth 1) is an operator with probability 1/4, of 2 to max_args arguments, and
    else a digit. A tree's length counts digits, operators and closing brackets; those strictly between min_length and
    max_length are kept.
    """

    max_depth: int = 10
    max_args: int = 10
    min_length: int = 500
    max_length: int = 2000

    def __post_init__(self) -> None:
        if self.max_depth < 2 or self.max_args < 2:
            raise ValueError(f"max_depth and max_args must be at least 2, got {self.max_depth} and {self.max_args}")
        if not 0 <= self.min_length < self.max_length - 1:
            raise ValueError(
                f"some length must lie between min_length and max_length, got {self.min_length} and {self.max_length}"
            )
        num_lists = sum(self.max_args**level for level in range(self.max_depth - 1))
        longest = 2 * num_lists + self.max_args ** (self.max_depth - 1)
        if longest <= self.min_length:
            raise ValueError(
                f"min_length must be below {longest}, the longest tree of depth {self.max_depth} with {self.max_args} "
                f"arguments, got {self.min_length}"
            )


LISTOPS_LRA = ListOpsShape()
# Not LRA's: short enough for two cores.
LISTOPS_SHORT = ListOpsShape(max_depth=5, max_args=5, min_length=50, max_length=200)


class ListOpsTrees(NamedTuple):
    """Trees as rows of tokens, what each comes to, and how many were grown to find them."""

    rows: RaggedTokens
    labels: UInt8[np.ndarray, " n"]
    num_grown: int


class _Level(NamedTuple):
    """The nodes of one depth, of all trees. The arguments of the operators, in order, are the next level's nodes."""

    tree: Int64[np.ndarray, " nodes"]
    is_operator: Bool[np.ndarray, " nodes"]
    num_args: Int64[np.ndarray, " operators"]


def grow_trees(shape: ListOpsShape, num_grown: int, generator: np.random.Generator) -> ListOpsTrees:
    """Grows this many trees and returns those whose length is kept."""
    levels = _grow_levels(shape, num_grown, generator)
    lengths = _subtree_lengths(levels)
    root_length = lengths[0]
    kept = (root_length > shape.min_length) & (root_length < shape.max_length)
    if not kept.any():
        empty = np.zeros(0, dtype=np.uint8)
        return ListOpsTrees(RaggedTokens(empty, np.zeros(1, dtype=np.int64)), empty, num_grown)

    # Digits and operators do not change a length, so only the trees that are kept need any.
    lengths = [length[kept[level.tree]] for level, length in zip(levels, lengths, strict=True)]
    levels = [_restricted(level, kept) for level in levels]
    levels = [level for level in levels if len(level.tree)]
    lengths = lengths[: len(levels)]
    starts = np.concatenate([[0], np.cumsum(lengths[0])])
    tokens = np.empty(starts[-1], dtype=np.uint8)
    labels = _fill(tokens, starts[:-1], levels, lengths, generator)
    return ListOpsTrees(RaggedTokens(tokens, starts), labels, num_grown)


def _grow_levels(shape: ListOpsShape, num_trees: int, generator: np.random.Generator) -> list[_Level]:
    """Returns the levels of `num_trees` trees, from the roots down."""
    tree = np.arange(num_trees)
    length_so_far = np.zeros(num_trees, dtype=np.int64)
    levels = []
    for depth in range(1, shape.max_depth + 1):
        if depth < shape.max_depth:
            is_operator = generator.integers(0, 4, size=len(tree), dtype=np.uint8) == 0
        else:
            is_operator = np.zeros(len(tree), dtype=np.bool_)
        length_so_far += np.bincount(tree, minlength=num_trees)
        # A tree that is too long already is not kept: it may as well stop growing.
        is_operator &= length_so_far[tree] < shape.max_length
        parents = tree[is_operator]
        num_args = generator.integers(2, shape.max_args + 1, size=len(parents), dtype=np.int64)
        levels.append(_Level(tree, is_operator, num_args))
        tree = np.repeat(parents, num_args)
        if not len(tree):
            break
    return levels


def _restricted(level: _Level, kept: Bool[np.ndarray, " trees"]) -> _Level:
    """Returns the nodes of the trees that are kept."""
    of_kept = kept[level.tree]
    return _Level(level.tree[of_kept], level.is_operator[of_kept], level.num_args[of_kept[level.is_operator]])


def _first_args(num_args: Int64[np.ndarray, " operators"]) -> Int64[np.ndarray, " operators"]:
    """Returns where in the next level the arguments of each operator begin."""
    first: Int64[np.ndarray, " operators"] = np.cumsum(num_args) - num_args
    return first


def _subtree_lengths(levels: list[_Level]) -> list[Int64[np.ndarray, " _"]]:
    """Returns, for every node of every level, the number of tokens of the expression below it."""
    lengths: list[Int64[np.ndarray, " _"]] = []
    for level in reversed(levels):
        length = np.ones(len(level.tree), dtype=np.int64)
        if len(level.num_args):
            length[level.is_operator] = 2 + np.add.reduceat(lengths[-1], _first_args(level.num_args))
        lengths.append(length)
    return lengths[::-1]


def _fill(
    tokens: UInt8[np.ndarray, " total"],
    start: Int64[np.ndarray, " trees"],
    levels: list[_Level],
    lengths: list[Int64[np.ndarray, " _"]],
    generator: np.random.Generator,
) -> UInt8[np.ndarray, " trees"]:
    """Draws digits and operators, writes them all into `tokens`, and returns what each tree comes to."""
    drawn = []
    for depth, (level, length) in enumerate(zip(levels, lengths, strict=True)):
        digits = generator.integers(0, 10, size=len(level.tree), dtype=np.uint8)
        operators = generator.integers(0, len(OPERATOR_NAMES), size=len(level.num_args), dtype=np.uint8)
        drawn.append((digits, operators))
        tokens[start[~level.is_operator]] = DIGIT + digits[~level.is_operator]
        opening = start[level.is_operator]
        tokens[opening] = OPERATOR + operators
        tokens[opening + length[level.is_operator] - 1] = CLOSE
        if len(level.num_args):
            before = np.cumsum(lengths[depth + 1]) - lengths[depth + 1]  # tokens of earlier nodes of the next level
            of_group = opening + 1 - before[_first_args(level.num_args)]
            start = np.repeat(of_group, level.num_args) + before

    values = drawn[-1][0]
    for level, (digits, operators) in zip(levels[-2::-1], drawn[-2::-1], strict=True):
        digits[level.is_operator] = _apply(operators, values, level.num_args)
        values = digits
    return values


def _apply(
    operators: UInt8[np.ndarray, " operators"],
    values: UInt8[np.ndarray, " args"],
    num_args: Int64[np.ndarray, " operators"],
) -> UInt8[np.ndarray, " operators"]:
    """Returns what each operator makes of its arguments, which stand side by side."""
    first = _first_args(num_args)
    by_operator = [
        np.minimum.reduceat(values, first),
        np.maximum.reduceat(values, first),
        np.zeros(len(operators), dtype=np.uint8),
        np.add.reduceat(values, first, dtype=np.int64) % 10,
    ]
    of_median = operators == _MEDIAN
    by_operator[_MEDIAN][of_median] = _medians(values, first[of_median], num_args[of_median])
    result: UInt8[np.ndarray, " operators"] = np.choose(operators, by_operator).astype(np.uint8)
    return result


def _medians(
    values: UInt8[np.ndarray, " args"], first: Int64[np.ndarray, " n"], num_args: Int64[np.ndarray, " n"]
) -> UInt8[np.ndarray, " n"]:
    """Returns the medians of runs of values, rounded down, as LRA's int(np.median(...)) does."""
    if not len(first):
        return np.zeros(0, dtype=np.uint8)
    place = np.arange(num_args.max())
    source = np.minimum(first[:, None] + place, len(values) - 1)
    runs = np.sort(np.where(place < num_args[:, None], values[source], 255), axis=1)
    rows = np.arange(len(first))
    medians: UInt8[np.ndarray, " n"] = (runs[rows, (num_args - 1) // 2] + runs[rows, num_args // 2]) // 2
    return medians


def expression(tokens: Integer[np.ndarray, " l"]) -> str:
    """Returns the expression as text, e.g. "[MAX 2 [SM 3 4 ] ]"."""
    names = {OPERATOR + i: f"[{name}" for i, name in enumerate(OPERATOR_NAMES)} | {CLOSE: "]"}
    return " ".join(names.get(int(token), str(int(token) - DIGIT)) for token in tokens)


def evaluate(tokens: Integer[np.ndarray, " l"]) -> int:
    """Returns what an expression comes to, read from left to right: the oracle of the labels."""
    open_lists: list[list[int]] = []
    for token in map(int, tokens):
        if OPERATOR <= token < CLOSE:
            open_lists.append([token - OPERATOR])
            continue
        if token == CLOSE:
            operator, *arguments = open_lists.pop()
            value = _evaluate_list(OPERATOR_NAMES[operator], arguments)
        else:
            value = token - DIGIT
        if not open_lists:
            return value
        open_lists[-1].append(value)
    raise ValueError(f"the expression is not closed: {expression(tokens)}")


def _evaluate_list(name: str, arguments: list[int]) -> int:
    if name == "MIN":
        return min(arguments)
    if name == "MAX":
        return max(arguments)
    return int(np.median(arguments)) if name == "MED" else sum(arguments) % 10
