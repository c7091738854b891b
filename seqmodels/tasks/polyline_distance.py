"""How near two lines of straight segments come to each other."""

import numpy as np
from jaxtyping import Bool, Float


def polyline_distance(
    first: Float[np.ndarray, "n a 2 2"], second: Float[np.ndarray, "n b 2 2"]
) -> Float[np.ndarray, " n"]:
    """Returns the smallest distance between two polylines of each image: 0 where they cross."""
    one, two = first[:, :, None], second[:, None]  # (n, a, 1, 2, 2), (n, 1, b, 2, 2)
    distances = [
        _point_to_segment(one[..., 0, :], two),
        _point_to_segment(one[..., 1, :], two),
        _point_to_segment(two[..., 0, :], one),
        _point_to_segment(two[..., 1, :], one),
    ]
    crossing = _sides_differ(one, two) & _sides_differ(two, one)
    nearest: Float[np.ndarray, " n"] = np.where(crossing, 0.0, np.minimum.reduce(distances)).min(axis=(1, 2))
    return nearest


def _point_to_segment(point: Float[np.ndarray, "..."], segment: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    begin, along = segment[..., 0, :], segment[..., 1, :] - segment[..., 0, :]
    squared = np.maximum((along**2).sum(axis=-1), 1e-12)  # a gap may have no length
    share = np.clip(((point - begin) * along).sum(axis=-1) / squared, 0, 1)
    offset = point - begin - share[..., None] * along
    distance: Float[np.ndarray, " *shape"] = np.hypot(offset[..., 0], offset[..., 1])
    return distance


def _sides_differ(line: Float[np.ndarray, "..."], segment: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    """Returns whether the segment's ends lie on different sides of the line."""
    begin, along = line[..., 0, :], line[..., 1, :] - line[..., 0, :]
    to_ends = segment - begin[..., None, :]
    side = along[..., None, 0] * to_ends[..., 1] - along[..., None, 1] * to_ends[..., 0]
    differ: Bool[np.ndarray, " *shape"] = side[..., 0] * side[..., 1] < 0
    return differ
