"""Draws Pathfinder's images: contours and distractors made of paddles, and two discs that mark ends of contours."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

from .pathfinder_contours import Chains, ContourGrowth, GrownContours
from .pathfinder_paddles import Canvas, disc_stamp
from .pathfinder_settings import PathfinderSettings

# Images are begun many at once, because most cannot be finished: a few at first, which tell how many it takes.
_FIRST_STARTS = 256
_MOST_PIXELS = 1 << 22  # in the images that are begun at once
_MOST_STARTS = 100_000  # after which settings that never gave an image are given up


class PathfinderImages(NamedTuple):
    """Images, their labels (1: the marked ends belong to one contour), and what was drawn in them.

    Contours and markers are in pixels of the image before it was shrunk. Contours are given by their bridged lines,
    segments from (y, x) to (y, x), and are padded with segments that have no length.
    """

    images: UInt8[np.ndarray, "n shrunk_size shrunk_size"]
    labels: UInt8[np.ndarray, " n"]
    markers: Int64[np.ndarray, "n 2 2"]
    targets: Float[np.ndarray, "n 2 segments 2 2"]
    distractors: Float[np.ndarray, "n distractors distractor_segments 2 2"]
    has_distractor: Bool[np.ndarray, "n distractors"]
    contour_lengths: Int64[np.ndarray, " n"]


def draw_pathfinder(settings: PathfinderSettings, num_images: int, generator: np.random.Generator) -> PathfinderImages:
    """Draws images by these settings, in random order of their contour lengths and margins."""
    variants = [(length, margin) for length in settings.contour_lengths for margin in settings.margins]
    # The first variants have one image more where it does not come out even; the order hides which.
    counts = [len(range(i, num_images, len(variants))) for i in range(len(variants))]
    parts = [
        _draw_variant(settings, count, length, margin, generator)
        for (length, margin), count in zip(variants, counts, strict=True)
        if count
    ]
    order = generator.permutation(num_images)
    return PathfinderImages(*(np.concatenate(part)[order] for part in zip(*parts, strict=True)))


def _draw_variant(
    settings: PathfinderSettings, num_images: int, contour_length: int, margin: int, generator: np.random.Generator
) -> PathfinderImages:
    """Draws images with contours of one length and one margin."""
    growth = _growth(settings, margin)
    drawn: list[PathfinderImages] = []
    num_drawn = num_started = 0
    num_starts = min(8 * num_images, _FIRST_STARTS)
    while num_drawn < num_images:
        if num_started > _MOST_STARTS and not num_drawn:
            raise RuntimeError(
                f"no two contours of {contour_length} paddles found room in {num_started:,} images of {settings.size} "
                "pixels a side"
            )
        grown = growth.grow(num_starts, contour_length, generator)
        drawn.append(_draw(growth, grown, generator))
        num_drawn += len(grown.has_distractor)
        num_started += num_starts
        needed = (num_images - num_drawn) * num_started // max(num_drawn, 1)
        num_starts = min(max(needed, 32), _MOST_PIXELS // settings.size**2)
    return PathfinderImages(*(np.concatenate(part)[:num_images] for part in zip(*drawn, strict=True)))


@lru_cache(maxsize=4)
def _growth(settings: PathfinderSettings, margin: int) -> ContourGrowth:
    """Returns what grows contours by these settings; its pictures of paddles take long to draw."""
    return ContourGrowth(settings, margin=margin)


def _draw(growth: ContourGrowth, grown: GrownContours, generator: np.random.Generator) -> PathfinderImages:
    """Draws one image for each pair of contours, with labels in random order."""
    settings = growth.settings
    num_images, _, contour_length = grown.targets.stamp.shape
    canvas = Canvas.blank(num_images, settings.size, growth.reach)
    everywhere = np.ones((num_images, 2), dtype=np.bool_)
    _paint_chains(canvas, growth, grown.targets, everywhere)
    _paint_chains(canvas, growth, grown.distractors, grown.has_distractor)
    canvas.pixels[:] = np.rint(settings.contrast * canvas.pixels)

    # As many of either label as can be; which one has the odd image is left to chance.
    labels = generator.permutation((np.arange(num_images) + generator.integers(0, 2)) % 2).astype(np.uint8)
    begun = generator.integers(0, 2, size=num_images)  # whose beginning is marked
    ended = np.where(labels == 1, begun, 1 - begun)  # whose end
    rows = np.arange(num_images)
    markers = np.stack([grown.targets.place[rows, begun, 0], grown.targets.place[rows, ended, -1]], axis=1)
    disc = disc_stamp(settings.marker_radius)[None].repeat(num_images, axis=0)
    for marker in (markers[:, 0], markers[:, 1]):
        canvas.paint(rows, marker, disc)
    return PathfinderImages(
        images=_shrunk(canvas.cropped(), settings.shrink),
        labels=labels,
        markers=markers,
        targets=_padded(growth.polylines(grown.targets), 2 * max(settings.contour_lengths) - 1),
        distractors=growth.polylines(grown.distractors),
        has_distractor=grown.has_distractor,
        contour_lengths=np.full(num_images, contour_length),
    )


def _paint_chains(
    canvas: Canvas, growth: ContourGrowth, chains: Chains, present: Bool[np.ndarray, "n contours"]
) -> None:
    """Draws the paddles of the contours that are there."""
    _, num_contours, num_paddles = chains.stamp.shape
    for contour in range(num_contours):
        for paddle in range(num_paddles):
            images = np.flatnonzero(present[:, contour])
            ink = growth.stamps.ink[chains.stamp[images, contour, paddle]]
            canvas.paint(images, chains.place[images, contour, paddle], ink)


def _shrunk(images: UInt8[np.ndarray, "n size size"], shrink: int) -> UInt8[np.ndarray, "n shrunk shrunk"]:
    """Returns images averaged over squares of shrink x shrink pixels."""
    if shrink == 1:
        return images.copy()
    side = images.shape[1] // shrink
    squares = images.reshape(len(images), side, shrink, side, shrink)
    means: UInt8[np.ndarray, "n shrunk shrunk"] = np.rint(squares.mean(axis=(2, 4))).astype(np.uint8)
    return means


def _padded(
    lines: Float[np.ndarray, "n contours segments 2 2"], num_segments: int
) -> Float[np.ndarray, "n contours {num_segments} 2 2"]:
    """Returns lines with as many segments, the last point repeated."""
    last = lines[:, :, -1:, 1:].repeat(2, axis=3)
    return np.concatenate([lines, last.repeat(num_segments - lines.shape[2], axis=2)], axis=2)
