"""The bytes of a store's shards, mapped into memory while they are in use."""

import mmap
from collections import OrderedDict
from pathlib import Path


class ShardFiles:
    """Maps files when they are first read and keeps those used last: a large store has more than may be open at once.

    The system reads what is touched and forgets it when memory is short.
    """

    def __init__(self, *, max_open: int = 256) -> None:
        self._max_open = max_open
        self._mapped: OrderedDict[Path, mmap.mmap] = OrderedDict()

    def map(self, path: Path, expected_bytes: int) -> mmap.mmap:
        """Returns the bytes of a file. Raises RuntimeError if it is no longer as long as it was."""
        mapped = self._mapped.get(path)
        if mapped is not None:
            self._mapped.move_to_end(path)
            return mapped
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(mapped) != expected_bytes:
            raise RuntimeError(
                f"{path} was rewritten while it was read: it had {expected_bytes} bytes, now {len(mapped)}"
            )
        self._mapped[path] = mapped
        while len(self._mapped) > self._max_open:
            self._mapped.popitem(last=False)
        return mapped
