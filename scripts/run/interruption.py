"""Lets Ctrl-C stop a run at its next safe point instead of anywhere."""

import os
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType

_STDERR = 2
_MESSAGE = b"\nstopping at the next safe point and saving; Ctrl-C once more stops at once, without saving\n"


class Interruption:
    """While entered, notes the first SIGINT or SIGTERM in `requested`; a second one ends the program at once.

    The loop reads `requested` at its safe points, saves and leaves; the command then says how to go on.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there only
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # Not by print: the signal may have come in the middle of one, and Python's streams cannot be entered twice.
        with suppress(OSError):
            os.write(_STDERR, _MESSAGE)
