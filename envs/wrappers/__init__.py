"""Wrappers that Gymnasium lacks; all but LifeLossSignal go where a step is one emulator frame."""

from .fire_at_reset import FireAtReset
from .frame_limit import FrameLimit
from .life_loss import LifeLossSignal
from .noop_start import NoopStart

__all__ = ["FireAtReset", "FrameLimit", "LifeLossSignal", "NoopStart"]
