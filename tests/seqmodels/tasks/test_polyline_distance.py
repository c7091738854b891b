import numpy as np
import pytest

from seqmodels.tasks.polyline_distance import polyline_distance


def line(*corners):
    """Returns a batch of one polyline through these points (y, x)."""
    points = np.array(corners, dtype=np.float64)
    return np.stack([points[:-1], points[1:]], axis=1)[None]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (line((0, 0), (0, 10)), line((3, 2), (3, 5)), 3.0),
        (line((0, 0), (0, 10)), line((-2, 5), (2, 5)), 0.0),
        (line((0, 0), (0, 10)), line((4, 13), (9, 13)), 5.0),
        (line((0, 0), (0, 10), (7, 10)), line((4, 8), (4, 2)), 2.0),
        (line((0, 0), (0, 10)), line((0, 4), (0, 6)), 0.0),
        (line((0, 0), (0, 10)), line((1, 5), (1, 5)), 1.0),
    ],
    ids=["beside", "crossing", "past the end", "corner", "on top", "a point"],
)
def test_the_distance_is_that_of_the_nearest_points(first, second, expected):
    assert polyline_distance(first, second).tolist() == pytest.approx([expected])
    assert polyline_distance(second, first).tolist() == pytest.approx([expected])


def test_the_distance_of_random_lines_is_that_of_points_along_them():
    generator = np.random.default_rng(0)
    first, second = generator.uniform(0, 10, size=(11, 3, 2, 2)), generator.uniform(0, 10, size=(11, 5, 2, 2))
    share = np.linspace(0, 1, 101)[:, None]

    def points(lines):
        return (lines[:, :, None, 0] + share * (lines[:, :, None, 1] - lines[:, :, None, 0])).reshape(11, -1, 2)

    slow = np.linalg.norm(points(first)[:, :, None] - points(second)[:, None], axis=3).min(axis=(1, 2))
    np.testing.assert_allclose(polyline_distance(first, second), slow, atol=0.1)
