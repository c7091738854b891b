"""The bytes of a store's shards, mapped into memory while they are in use."""

import mmap
from collections import OrderedDict
from pathlib import Path
from threading import Lock


class ShardFiles:
    """Maps files when they are first read and keeps those used last: a large store has more than may be open at once.

    The system reads what is touched and forgets it when memory is short. Threads may share one.
    """

    def __init__(self, *, max_open: int = 256) -> None:
        self._max_open = max_open
        self._mapped: OrderedDict[Path, mmap.mmap] = OrderedDict()
        self._lock = Lock()

    def map(self, path: Path, expected_bytes: int) -> mmap.mmap:
        """Returns the bytes of a file. Raises RuntimeError if it is no longer as long as it was."""
        with self._lock:
            if path not in self._mapped:
                self._mapped[path] = _map(path, expected_bytes)
                if len(self._mapped) > self._max_open:
                    self._mapped.popitem(last=False)  # unmapped once nobody reads in it any more
            self._mapped.move_to_end(path)
            return self._mapped[path]


def _map(path: Path, expected_bytes: int) -> mmap.mmap:
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if len(mapped) != expected_bytes:
        raise RuntimeError(f"{path} was rewritten while it was read: it had {expected_bytes} bytes, now {len(mapped)}")
    return mapped
