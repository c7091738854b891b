"""Grows Pathfinder's contours, paddle by paddle, in many images at once.

A contour is a chain of paddles: each begins two margins after the end of the one before, and turns by an angle that the
continuity keeps small. No two paddles' margins overlap, save those of neighbours in a contour.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64

from .pathfinder_paddles import FULL, Canvas, Stamps, paddle_stamps
from .pathfinder_settings import PathfinderSettings
from .polyline_distance import polyline_distance

_PADDLE_TRIALS = 12  # the published generator has 3, and begins the image again more often
_DISTRACTOR_TRIALS = 5  # its max_distractor_contour_retrial of 4
_SEED_PLACES = 32  # tried at once for a distractor's first paddle
_NUM_SEED_ANGLES = 360
_BORDER = 1  # pixels along the edge that no paddle may take


class Chains(NamedTuple):
    """Contours as drawn: the stamp of every paddle, and the place (y, x) of the stamp's middle.

    A contour's first paddle is stamped at its beginning, the others at their end: those are whole pixels.
    """

    place: Int64[np.ndarray, "n contours paddles 2"]
    stamp: Int64[np.ndarray, "n contours paddles"]


class GrownContours(NamedTuple):
    """The two contours of each image, its distractors, and which of these there are."""

    targets: Chains
    distractors: Chains
    has_distractor: Bool[np.ndarray, "n distractors"]


class _Tip(NamedTuple):
    """Where a contour's last paddle is: its pivot lies a margin before the paddle's beginning."""

    pivot: Int64[np.ndarray, "n 2"]
    angle: Float[np.ndarray, " n"]
    place: Int64[np.ndarray, "n 2"]
    stamp: Int64[np.ndarray, " n"]

    def select(self, images: Bool[np.ndarray, " n"]) -> "_Tip":
        return _Tip(*(part[images] for part in self))


class ContourGrowth:
    """Grows contours by these settings, with one of their margins."""

    def __init__(self, settings: PathfinderSettings, *, margin: int) -> None:
        self.settings = settings
        self._margin = margin
        self._radius = settings.paddle_length + margin  # from a pivot to the end of the paddle after it
        self.reach = settings.paddle_length + int(np.ceil(settings.paddle_thickness)) + margin
        seed_angle = np.deg2rad(np.arange(_NUM_SEED_ANGLES) - 180.0)
        self._ends = _circle(self._radius)  # (k, 2) around a pivot
        self._end_angle = np.arctan2(self._ends[:, 0], self._ends[:, 1])
        self._disc = _disc(margin)
        # From its beginning in a seed's direction, then from its end backwards to where it came from.
        self.stamps: Stamps = paddle_stamps(
            np.concatenate([seed_angle, self._end_angle + np.pi]),
            length=settings.paddle_length,
            thickness=settings.paddle_thickness,
            margin=margin,
            reach=self.reach,
        )

    def grow(self, num_images: int, contour_length: int, generator: np.random.Generator) -> GrownContours:
        """Starts two contours in so many images; returns the images in which both could be finished."""
        targets, taken = self._grow_targets(num_images, contour_length, generator)
        distractors, has_distractor = self._grow_distractors(taken, generator)
        lines = self.polylines(targets)
        near = [
            polyline_distance(self.polylines(distractors)[:, d], np.concatenate([lines[:, 0], lines[:, 1]], axis=1))
            < self.settings.clearance
            for d in range(self.settings.num_distractors)
        ]
        has_distractor &= ~np.stack(near, axis=1) if near else True
        apart = polyline_distance(lines[:, 0], lines[:, 1]) >= self.settings.clearance
        return GrownContours(
            Chains(*(part[apart] for part in targets)),
            Chains(*(part[apart] for part in distractors)),
            has_distractor[apart],
        )

    def polylines(self, chains: Chains) -> Float[np.ndarray, "n contours segments 2 2"]:
        """Returns contours with their gaps bridged, as segments from (y, x) to (y, x): paddle, gap, paddle, ..."""
        angle = self.stamps.angle[chains.stamp]
        other_end = chains.place + self.settings.paddle_length * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
        begin, end = other_end.copy(), chains.place.astype(np.float64)
        begin[:, :, 0], end[:, :, 0] = chains.place[:, :, 0], other_end[:, :, 0]
        corners = np.stack([begin, end], axis=3).reshape(*begin.shape[:2], 2 * begin.shape[2], 2)
        return np.stack([corners[:, :, :-1], corners[:, :, 1:]], axis=3)

    def _grow_targets(
        self, num_images: int, contour_length: int, generator: np.random.Generator
    ) -> tuple[Chains, Canvas]:
        """Grows both contours in turn. Returns those of the images where both succeed, and what they take there."""
        tips, has_room = self._two_seeds(num_images, generator)
        # What each contour must not touch: the border, the other contour, and itself except for its last paddle.
        taken = [self._border(num_images), self._border(num_images)]
        for own, other in ((0, 1), (1, 0)):
            self._occupy(taken[other], tips[own])
        chains = [[tips[0]], [tips[1]]]
        alive = has_room
        for _ in range(contour_length - 1):
            for own, other in ((0, 1), (1, 0)):
                # Copying the others costs more than to let a few that have failed go on.
                if np.count_nonzero(alive) < 0.8 * len(alive):
                    taken, chains, alive = *_restricted(taken, chains, alive), alive[alive]
                last = chains[own][-1]
                tip, found = self._extend(last, taken[own], generator)
                self._occupy(taken[own], last)
                self._occupy(taken[other], tip)
                chains[own].append(tip)
                alive = alive & found
        taken, chains = _restricted(taken, chains, alive)
        self._occupy(taken[0], chains[0][-1])
        return _chains(chains), taken[0]

    def _occupy(self, taken: Canvas, tip: _Tip) -> None:
        """Takes the room of a paddle in each picture."""
        taken.paint(np.arange(len(tip.stamp)), tip.place, self.stamps.room[tip.stamp])

    def _two_seeds(
        self, num_images: int, generator: np.random.Generator
    ) -> tuple[list[_Tip], Bool[np.ndarray, " num_images"]]:
        """Draws the first paddles: one away from the edges, the other at the seed distance from it."""
        size, distance = self.settings.size, self.settings.seed_distance
        first = generator.integers(2 * distance, size - 2 * distance, size=(num_images, 2))
        direction = np.deg2rad(generator.integers(0, 360, size=num_images).astype(np.float64))
        second = first + np.rint(distance * _unit(direction)).astype(np.int64)
        stamps = generator.integers(0, _NUM_SEED_ANGLES, size=(2, num_images))
        tips = [self._seed(first, stamps[0]), self._seed(second, stamps[1])]
        taken, images = self._border(num_images), np.arange(num_images)
        has_room = taken.has_room(images, first, self.stamps.room[tips[0].stamp])
        self._occupy(taken, tips[0])
        return tips, has_room & taken.has_room(images, second, self.stamps.room[tips[1].stamp])

    def _seed(self, place: Int64[np.ndarray, "n 2"], stamp: Int64[np.ndarray, " n"]) -> _Tip:
        """Returns the first paddle of a contour, which begins at each place in the stamp's direction."""
        angle = self.stamps.angle[stamp]
        pivot = np.rint(place - self._margin * _unit(angle)).astype(np.int64)
        return _Tip(pivot, angle, place, stamp)

    def _extend(self, tip: _Tip, taken: Canvas, generator: np.random.Generator) -> tuple[_Tip, Bool[np.ndarray, " n"]]:
        """Adds a paddle to each contour. Returns the new tips, and where there was room for one."""
        step = self.settings.paddle_length + 2 * self._margin
        pivot = np.rint(tip.pivot + step * _unit(tip.angle)).astype(np.int64)
        ends = pivot[:, None] + self._ends  # (n, k, 2)
        odds = self._turn_odds(tip.angle) * self._free(ends, taken)
        choice = np.zeros(len(pivot), dtype=np.int64)
        found = np.zeros(len(pivot), dtype=np.bool_)
        for _ in range(_PADDLE_TRIALS):
            images = np.flatnonzero(~found & (odds.sum(axis=1) > 1e-4))
            if not len(images):
                break
            cumulative = np.cumsum(odds[images], axis=1)
            target = generator.random(len(images)) * cumulative[:, -1]
            drawn = (cumulative > target[:, None]).argmax(axis=1)
            has_room = taken.has_room(images, ends[images, drawn], self.stamps.room[_NUM_SEED_ANGLES + drawn])
            choice[images[has_room]] = drawn[has_room]
            found[images[has_room]] = True
            odds[images[~has_room], drawn[~has_room]] = 0
        place, stamp = ends[np.arange(len(pivot)), choice], _NUM_SEED_ANGLES + choice
        return _Tip(pivot, self._end_angle[choice], place, stamp), found

    def _turn_odds(self, angle: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n k"]:
        """Returns how likely each direction is after a paddle at this angle: cos^2 of the turn times the continuity."""
        turn = np.abs(self._end_angle - angle[:, None])
        turn = np.minimum(turn, 2 * np.pi - turn)
        odds: Float[np.ndarray, "n k"] = np.cos(np.minimum(turn * self.settings.continuity, np.pi / 2)) ** 2
        return odds

    def _free(self, ends: Int64[np.ndarray, "n k 2"], taken: Canvas) -> Float[np.ndarray, "n k"]:
        """Returns how free of other paddles' room the pixels around these places are, from 0 to 1."""
        num_images, num_ends, num_around = *ends.shape[:2], len(self._disc)
        around = (ends[:, :, None] + self._disc).reshape(num_images, num_ends * num_around, 2)
        inside = ((ends >= 0) & (ends < self.settings.size)).all(axis=2)
        most = taken.at(around).reshape(num_images, num_ends, num_around).max(axis=2)
        free: Float[np.ndarray, "n k"] = inside * (1 - most / FULL)
        return free

    def _grow_distractors(
        self, taken: Canvas, generator: np.random.Generator
    ) -> tuple[Chains, Bool[np.ndarray, "n distractors"]]:
        """Adds short contours to each image, as far as they find room within some trials."""
        num_images, settings = len(taken.pixels), self.settings
        shape = (num_images, settings.num_distractors, settings.distractor_length)
        grown = Chains(np.zeros((*shape, 2), dtype=np.int64), np.zeros(shape, dtype=np.int64))
        present = np.zeros(shape[:2], dtype=np.bool_)
        for number in range(settings.num_distractors):
            for _ in range(_DISTRACTOR_TRIALS):
                images = np.flatnonzero(~present[:, number])
                if not len(images):
                    break
                trial = taken.select(images)
                chain, found = self._grow_distractor(trial, generator)
                images = images[found]
                taken.pixels[images] = trial.pixels[found]
                grown.place[images, number] = chain.place[found, 0]
                grown.stamp[images, number] = chain.stamp[found, 0]
                present[images, number] = True
        return grown, present

    def _grow_distractor(self, taken: Canvas, generator: np.random.Generator) -> tuple[Chains, Bool[np.ndarray, " n"]]:
        """Grows one more contour in every picture, painting on it. Returns the contours, and where they succeeded."""
        images = np.arange(len(taken.pixels))
        places = generator.integers(0, self.settings.size, size=(_SEED_PLACES, len(images), 2))
        place, stamp = places[0].copy(), generator.integers(0, _NUM_SEED_ANGLES, size=len(images))
        found = np.zeros(len(images), dtype=np.bool_)
        for tried in places:
            left = np.flatnonzero(~found)
            place[left] = tried[left]
            found[left] = taken.has_room(left, place[left], self.stamps.room[stamp[left]])
        tip = self._seed(place, stamp)
        chain = [tip]
        for _ in range(self.settings.distractor_length - 1):
            new, extended = self._extend(tip, taken, generator)
            self._occupy(taken, tip)
            found &= extended
            chain.append(new)
            tip = new
        self._occupy(taken, tip)
        return _chains([chain]), found

    def _border(self, num_images: int) -> Canvas:
        """Returns pictures in which everything outside the image, and its edge, is taken."""
        canvas = Canvas.blank(num_images, self.settings.size, self.reach)
        inner = slice(self.reach + _BORDER, self.reach + self.settings.size - _BORDER)
        canvas.pixels[:] = FULL
        canvas.pixels[:, inner, inner] = 0
        return canvas


def _restricted(
    taken: list[Canvas], chains: list[list[_Tip]], images: Bool[np.ndarray, " n"]
) -> tuple[list[Canvas], list[list[_Tip]]]:
    """Returns canvases and contours of some of the images."""
    return [canvas.select(images) for canvas in taken], [[tip.select(images) for tip in chain] for chain in chains]


def _chains(contours: list[list[_Tip]]) -> Chains:
    """Returns contours, each a list of its paddles in all images, as one record."""
    return Chains(
        place=np.stack([np.stack([tip.place for tip in contour], axis=1) for contour in contours], axis=1),
        stamp=np.stack([np.stack([tip.stamp for tip in contour], axis=1) for contour in contours], axis=1),
    )


def _unit(angle: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
    """Returns (y, x) of length 1 in these directions."""
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def _circle(radius: int) -> Int64[np.ndarray, "k 2"]:
    """Returns the pixels (y, x) on a circle around 0, each once."""
    angle = np.arange(0, 2 * np.pi, 1 / radius)
    return np.unique(np.rint(radius * _unit(angle)).astype(np.int64), axis=0)


def _disc(radius: int) -> Int64[np.ndarray, "k 2"]:
    """Returns the pixels (y, x) at most this far from 0."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    inside = x**2 + y**2 <= radius**2
    return np.stack([y[inside], x[inside]], axis=1)
