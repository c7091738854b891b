"""The sum tree against a plain list of numbers under random operations."""

import numpy as np
import pytest

from agents.replay.sum_tree import SumTree


def find_slowly(values: list[float], mass: float) -> int:
    """Returns the first index whose running sum exceeds `mass`, the last positive one past the end."""
    running = 0.0
    for index, value in enumerate(values):
        running += value
        if mass < running:
            return index
    return max(index for index, value in enumerate(values) if value > 0)


@pytest.mark.parametrize("num_leaves", [1, 2, 3, 7, 61, 128])
def test_tree_equals_a_plain_list_under_random_operations(num_leaves: int) -> None:
    generator = np.random.default_rng(num_leaves)
    tree, plain = SumTree(num_leaves), [0.0] * num_leaves
    for _ in range(211):
        indices = generator.integers(num_leaves, size=generator.integers(1, 5))
        # Eighths add without rounding, so that both may be compared exactly; many leaves are zero.
        values = generator.integers(0, 5, len(indices)) * (generator.random(len(indices)) < 0.5) / 8
        tree.set(indices, values)
        for index, value in zip(indices.tolist(), values.tolist(), strict=True):
            plain[index] = value

        assert tree.total == sum(plain)
        np.testing.assert_array_equal(tree.get(np.arange(num_leaves)), plain)
        if sum(plain) > 0:
            mass = generator.random(13) * sum(plain)
            assert tree.find(mass).tolist() == [find_slowly(plain, m) for m in mass.tolist()]


def test_no_leaf_of_zero_is_found_for_a_mass_at_or_past_the_total() -> None:
    tree = SumTree(11)
    tree.set(np.array([2, 5]), np.array([0.1, 0.7]))
    assert tree.find(np.array([0.0, 0.1, 0.8, np.nextafter(0.8, 1.0), 1.7])).tolist() == [2, 5, 5, 5, 5]


def test_sums_do_not_drift_after_a_million_changes() -> None:
    generator = np.random.default_rng(0)
    tree = SumTree(97)
    for _ in range(1000):
        tree.set(generator.integers(97, size=1000), 10 ** generator.uniform(-12, 6, 1000))
    tree.set(np.arange(97), 0.0)
    tree.set(np.array([3]), 1e-6)
    assert tree.total == 1e-6


def test_tree_without_leaves_is_refused() -> None:
    with pytest.raises(ValueError, match="num_leaves must be at least 1, got 0"):
        SumTree(0)
