"""Paddles, the dashes of which Pathfinder's contours are made: small antialiased pictures of one in any direction."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

_SUBPIXELS = 8  # a pixel's ink is counted on a grid of 8 x 8 points
FULL = 255  # of ink, and of the room a paddle takes
# Two paddles may not both take (nearly) the whole of a pixel: 1.8 of 2, as in the published generator.
_TOO_MUCH = round(1.8 * FULL)


class Stamps(NamedTuple):
    """Pictures of a paddle that begins at the centre of the middle pixel, one per direction.

    Angles are in radians from the x axis (to the right) towards the y axis (down). `ink` is the share of each pixel
    that the paddle covers, `room` the same for the paddle with its margin around it.
    """

    angle: Float[np.ndarray, " k"]
    ink: UInt8[np.ndarray, "k s s"]
    room: UInt8[np.ndarray, "k s s"]


def paddle_stamps(angle: Float[np.ndarray, " k"], *, length: int, thickness: float, margin: int, reach: int) -> Stamps:
    """Draws paddles of this length and thickness, in pixels, into pictures of 2 * reach + 1 pixels a side."""
    side = 2 * reach + 1
    point = (np.arange(side * _SUBPIXELS) + 0.5) / _SUBPIXELS - 0.5 - reach
    y, x = point[:, None], point[None, :]
    ink = np.empty((len(angle), side, side), dtype=np.uint8)
    room = np.empty_like(ink)
    for i, a in enumerate(angle):
        along = x * np.cos(a) + y * np.sin(a)
        across = np.abs(y * np.cos(a) - x * np.sin(a))
        ink[i] = _share((along >= 0) & (along <= length) & (across <= thickness / 2))
        beyond = np.maximum(np.maximum(-along, along - length), 0)
        room[i] = _share(np.hypot(beyond, across) <= margin + thickness / 2)
    return Stamps(angle, ink, room)


def disc_stamp(radius: float) -> UInt8[np.ndarray, "s s"]:
    """Draws a filled disc around the middle pixel's centre."""
    reach = int(np.ceil(radius))
    point = (np.arange((2 * reach + 1) * _SUBPIXELS) + 0.5) / _SUBPIXELS - 0.5 - reach
    return _share(np.hypot(point[:, None], point[None, :]) <= radius)


def _share(covered: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "s s"]:
    """Returns which part of each pixel's points is covered, in units of 1 / FULL."""
    side = len(covered) // _SUBPIXELS
    blocks = covered.reshape(side, _SUBPIXELS, side, _SUBPIXELS)
    share: UInt8[np.ndarray, "s s"] = np.rint(FULL * blocks.mean(axis=(1, 3))).astype(np.uint8)
    return share


class Canvas:
    """Square pictures, one per image, with room around them for stamps that reach over the edge.

    Places are pixels (y, x) of the image. Methods that take `images` act on those pictures, each named once.
    """

    def __init__(self, pixels: UInt8[np.ndarray, "n side side"], reach: int) -> None:
        self.pixels = pixels  # the image's pixel (y, x) is pixels[:, y + reach, x + reach]
        self.reach = reach

    @classmethod
    def blank(cls, num_images: int, size: int, reach: int) -> "Canvas":
        """Returns empty pictures of size x size pixels, for stamps that reach this far."""
        return cls(np.zeros((num_images, size + 2 * reach, size + 2 * reach), dtype=np.uint8), reach)

    def select(self, images: Int64[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> "Canvas":
        """Returns copies of some of the pictures."""
        return Canvas(self.pixels[images], self.reach)

    def at(self, place: Int64[np.ndarray, "n k 2"]) -> UInt8[np.ndarray, "n k"]:
        """Returns the pixels at places of each picture; outside of it the nearest one counts."""
        last = self.pixels.shape[1] - 1
        y, x = (np.clip(place[..., axis] + self.reach, 0, last) for axis in (0, 1))
        pixels: UInt8[np.ndarray, "n k"] = self.pixels[np.arange(len(place))[:, None], y, x]
        return pixels

    def has_room(
        self,
        images: Int64[np.ndarray, " n"],
        place: Int64[np.ndarray, "n 2"],
        room: UInt8[np.ndarray, "n s s"],
    ) -> Bool[np.ndarray, " n"]:
        """Returns whether a stamp with its middle at each place takes no pixel that is taken already."""
        taken = self.pixels[self._window(images, place, room.shape[1])]
        has_room: Bool[np.ndarray, " n"] = (taken.astype(np.int16) + room).max(axis=(1, 2)) < _TOO_MUCH
        return has_room

    def paint(
        self,
        images: Int64[np.ndarray, " n"],
        place: Int64[np.ndarray, "n 2"],
        stamp: UInt8[np.ndarray, "n s s"],
    ) -> None:
        """Puts a stamp at a place of each picture: every pixel keeps the larger value."""
        window = self._window(images, place, stamp.shape[1])
        self.pixels[window] = np.maximum(self.pixels[window], stamp)

    def cropped(self) -> UInt8[np.ndarray, "n size size"]:
        """Returns the pictures without the room around them."""
        inner = slice(self.reach, self.pixels.shape[1] - self.reach)
        return self.pixels[:, inner, inner]

    def _window(
        self, images: Int64[np.ndarray, " n"], place: Int64[np.ndarray, "n 2"], side: int
    ) -> tuple[Int64[np.ndarray, "n 1 1"], Int64[np.ndarray, "n s 1"], Int64[np.ndarray, "n 1 s"]]:
        """Returns the index of the square of pixels around each place, kept inside the picture."""
        # A place far outside is moved to the edge; what stands there is taken by the border.
        first = np.clip(place + self.reach - side // 2, 0, self.pixels.shape[1] - side)
        step = np.arange(side)
        return (
            images[:, None, None],
            first[:, 0, None, None] + step[:, None],
            first[:, 1, None, None] + step[None, :],
        )
