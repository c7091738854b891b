"""Views of stacks of frames for methods that compare them, and the one table from which a command picks by name."""

from collections.abc import Callable

from .random_intensity import RandomIntensity
from .random_shift import RandomShift
from .views import Compose, Views

__all__ = ["VIEWS", "Compose", "RandomIntensity", "RandomShift", "Views", "default_views", "make_views"]


def default_views() -> Compose:
    """Returns a shift of up to 2 pixels and a change of intensity.

    In random play of Pong, a shift of 2 keeps the ball in both views of 99% of the pairs, and of 96% where it is within
    6 pixels of a side; a shift of 4 of 98% and 81% (scripts/benchmark_views.py).
    """
    return Compose(RandomShift(2), RandomIntensity())


def shift_4_views() -> Compose:
    """Returns the usual shift of up to 4 pixels (DrQ, SPR) and a change of intensity."""
    return Compose(RandomShift(4), RandomIntensity())


def photographic_views() -> Compose:
    """Returns SimCLR's recipe, with a warning; imports kornia, which takes seconds."""
    from . import photographic

    return photographic.photographic_views()


VIEWS: dict[str, Callable[[], Compose]] = {
    "default": default_views,
    "shift-4": shift_4_views,
    "photographic": photographic_views,
    "identity": Compose,
}
"""Every kind of views by the name that commands use."""


def make_views(name: str) -> Compose:
    """Returns the views of that name; raises ValueError for a name that is not in the table."""
    if name not in VIEWS:
        raise ValueError(f"there are no views {name!r}: choose one of {', '.join(VIEWS)}")
    return VIEWS[name]()
