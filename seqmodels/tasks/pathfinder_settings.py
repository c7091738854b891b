"""The settings of Pathfinder's images: the Long Range Arena's three sizes, and one for a laptop."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PathfinderSettings:
    """What the images look like. Lengths are in pixels, those of contours in paddles.

    Images are drawn with `size` pixels a side, then averaged over squares of `shrink` x `shrink`. Images with each of
    `contour_lengths`, and each of `margins`, are equally frequent. The angle that a contour turns by at a paddle is at
    most pi / (2 * continuity). Different contours, gaps bridged, are at least `clearance` apart.
    """

    size: int
    contour_lengths: tuple[int, ...]
    distractor_length: int
    num_distractors: int
    paddle_length: int
    paddle_thickness: float
    margins: tuple[int, ...]
    seed_distance: int
    continuity: float
    marker_radius: float
    contrast: float
    clearance: float = 1.0
    shrink: int = 1

    def __post_init__(self) -> None:
        if min(self.contour_lengths) < 2 or self.distractor_length < 1:
            raise ValueError(
                f"contours need at least 2 paddles and distractors 1, got {min(self.contour_lengths)} and "
                f"{self.distractor_length}"
            )
        if self.size <= 4 * self.seed_distance:
            raise ValueError(
                f"size must be above 4 * seed_distance, for a contour to begin twice that distance from every edge, "
                f"got {self.size} and {self.seed_distance}"
            )
        if self.shrink < 1 or self.size % self.shrink:
            raise ValueError(f"size must be a multiple of shrink, got {self.size} and {self.shrink}")
        if not 0 < self.contrast <= 1:
            raise ValueError(f"contrast must be above 0 and at most 1, got {self.contrast}")


# Tay et al. 2021 (lra_benchmarks/data/pathfinder.py), the variant with contours of 14 paddles, which LRA trains on.
PATHFINDER_32 = PathfinderSettings(
    size=32,
    contour_lengths=(14,),
    distractor_length=4,
    num_distractors=5,
    paddle_length=2,
    paddle_thickness=0.5,
    margins=(1,),
    seed_distance=7,
    continuity=1.0,
    marker_radius=1.5,
    contrast=0.75,
)
PATHFINDER_64 = PathfinderSettings(
    size=64,
    contour_lengths=(14,),
    distractor_length=4,
    num_distractors=5,
    paddle_length=5,
    paddle_thickness=1.0,
    margins=(1,),
    seed_distance=12,
    continuity=1.8,
    marker_radius=2.5,
    contrast=0.8,
)
PATHFINDER_128 = PathfinderSettings(
    size=128,
    contour_lengths=(14,),
    distractor_length=4,
    num_distractors=8,
    paddle_length=5,
    paddle_thickness=1.5,
    margins=(2, 3),
    seed_distance=20,
    continuity=1.8,
    marker_radius=3.0,
    contrast=0.9,
)
# Not LRA's: small enough for two cores. So few pixels tell only contours apart that keep more of a distance.
PATHFINDER_16 = PathfinderSettings(
    size=32,
    shrink=2,
    clearance=5.0,
    contour_lengths=(4, 5, 6),
    distractor_length=2,
    num_distractors=4,
    paddle_length=2,
    paddle_thickness=1.0,
    margins=(1,),
    seed_distance=7,
    continuity=1.0,
    marker_radius=2.0,
    contrast=1.0,
)
