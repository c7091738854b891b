"""The table of mixers: each choice of how positions exchange information, by its name on the command line."""

import difflib
from collections.abc import Callable
from functools import partial
from typing import Any

from .attention import Attention, head_size
from .compressive_memory import delta_rule, linear_rule
from .gru import GRU
from .infini_attention import InfiniAttention
from .lstm import LSTM
from .mamba import Mamba
from .mamba2 import Mamba2
from .positions import AlibiBias, LearnedPositions, RotaryPositions, SinusoidalPositions, TransformerXLBias
from .s4 import S4
from .s4d import S4D, s4d_inv, s4d_legs, s4d_lin, s4d_real
from .sequence_model import SequenceModel


def _rotary(d_model: int, *, num_heads: int = 4) -> Attention:
    return Attention(d_model, num_heads=num_heads, rotation=RotaryPositions(head_size(d_model, num_heads)))


def _learned(d_model: int, *, num_heads: int = 4, max_length: int = 1024) -> Attention:
    return Attention(d_model, num_heads=num_heads, embedding=LearnedPositions(d_model, max_length=max_length))


def _sinusoidal(d_model: int, *, num_heads: int = 4) -> Attention:
    return Attention(d_model, num_heads=num_heads, embedding=SinusoidalPositions(d_model))


def _relative(d_model: int, *, num_heads: int = 4) -> Attention:
    head_size(d_model, num_heads)  # refuses what the bias would divide by
    return Attention(d_model, num_heads=num_heads, bias=TransformerXLBias(d_model, num_heads=num_heads))


def _alibi(d_model: int, *, num_heads: int = 4) -> Attention:
    head_size(d_model, num_heads)  # refuses what has no slopes
    return Attention(d_model, num_heads=num_heads, bias=AlibiBias(num_heads))


def _without_positions(d_model: int, *, num_heads: int = 4) -> Attention:
    return Attention(d_model, num_heads=num_heads)


def _window(d_model: int, *, num_heads: int = 4, window: int = 64) -> Attention:
    rotation = RotaryPositions(head_size(d_model, num_heads))
    return Attention(d_model, num_heads=num_heads, rotation=rotation, window=window)


def _infini_linear(d_model: int, *, num_heads: int = 4, segment_length: int = 64) -> InfiniAttention:
    return InfiniAttention(d_model, writing_rule=linear_rule, num_heads=num_heads, segment_length=segment_length)


def _infini_delta(d_model: int, *, num_heads: int = 4, segment_length: int = 64) -> InfiniAttention:
    return InfiniAttention(d_model, writing_rule=delta_rule, num_heads=num_heads, segment_length=segment_length)


# From d_model and the mixer's own keyword arguments to the mixer.
MIXERS: dict[str, Callable[..., SequenceModel[Any]]] = {
    "attention-rotary": _rotary,
    "attention-learned": _learned,
    "attention-sinusoidal": _sinusoidal,
    "attention-relative": _relative,
    "attention-alibi": _alibi,
    "attention-nope": _without_positions,
    "attention-window": _window,
    "s4": S4,
    "s4d-legs": partial(S4D, initialization=s4d_legs),
    "s4d-lin": partial(S4D, initialization=s4d_lin),
    "s4d-inv": partial(S4D, initialization=s4d_inv),
    "s4d-real": partial(S4D, initialization=s4d_real),
    "infini-linear": _infini_linear,
    "infini-delta": _infini_delta,
    "mamba": Mamba,
    "mamba2": Mamba2,
    "gru": GRU,
    "lstm": LSTM,
}


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
