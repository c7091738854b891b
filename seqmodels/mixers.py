"""The table of mixers: each choice of how positions exchange information, by its name on the command line."""

import difflib
from collections.abc import Callable
from typing import Any

from .sequence_model import SequenceModel

# From d_model and the mixer's own keyword arguments to the mixer.
MIXERS: dict[str, Callable[..., SequenceModel[Any]]] = {}


def make_mixer(name: str, d_model: int, **options: Any) -> SequenceModel[Any]:
    """Returns a new mixer of the table; `options` are the keyword arguments of its constructor.

    Raises:
        ValueError: there is no mixer of this name; the message has the nearest names.
    """
    if name not in MIXERS:
        close = difflib.get_close_matches(name, MIXERS, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(MIXERS)}"
        raise ValueError(f"unknown mixer {name!r}: {hint}")
    return MIXERS[name](d_model, **options)
