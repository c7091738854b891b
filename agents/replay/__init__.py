"""Replay memory that stores each frame once and gathers stacks, n-step returns and next observations at sampling.

`Replay` knows episodes; a `FrameStorage` knows bytes; `Priorities` knows what to draw more often.
"""

from .device_storage import DeviceStorage
from .frame_storage import FrameStorage
from .lz4_storage import Lz4Storage
from .priorities import Priorities
from .raw_storage import RawStorage
from .replay import Replay

__all__ = ["DeviceStorage", "FrameStorage", "Lz4Storage", "Priorities", "RawStorage", "Replay"]
