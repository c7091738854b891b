"""Wrappers that Gymnasium lacks; the Atari ones wrap an environment that steps one emulator frame at a time."""

from .fire_at_reset import FireAtReset
from .frame_limit import FrameLimit
from .life_loss import LifeLossSignal
from .noop_start import NoopStart

__all__ = ["FireAtReset", "FrameLimit", "LifeLossSignal", "NoopStart"]
