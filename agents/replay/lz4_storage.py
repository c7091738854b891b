"""Frames compressed without loss, in host memory."""

from typing import Any

import lz4.block
import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from .frame_storage import check_items, check_state, check_storage_arguments, describe_storage, numpy_dtype


class Lz4Storage:
    """A `FrameStorage` that compresses every item by itself with LZ4 (block format), losslessly.

    Memory: the compressed items plus about 50 bytes each. Mean bytes of an 84x84 frame: Pong 255, Breakout 394,
    Qbert 1,905.
    """

    def __init__(self, capacity: int, item_shape: tuple[int, ...], *, dtype: torch.dtype = torch.uint8) -> None:
        check_storage_arguments(capacity, item_shape)
        self.capacity = capacity
        self.item_shape = item_shape
        self.dtype = dtype
        self.device = torch.device("cpu")
        self._item_bytes = int(np.prod(item_shape)) * numpy_dtype(dtype).itemsize
        # An object array, not a list: the garbage collector would walk a list's million entries at every full pass.
        self._blocks = np.full(capacity, None, dtype=object)

    def write(self, slots: Int64[np.ndarray, " n"], items: Shaped[np.ndarray, "n *item"]) -> None:
        """Compresses and stores one item per slot."""
        check_items(items, self.item_shape, self.dtype)
        for slot, item in zip(slots.tolist(), np.ascontiguousarray(items), strict=True):
            self._blocks[slot] = lz4.block.compress(item, store_size=False)

    def read(self, slots: Int64[np.ndarray, " n"]) -> Shaped[Tensor, "n *item"]:
        """Returns a fresh tensor of the items at these slots; a slot that is asked for twice is decoded once."""
        result = torch.empty((len(slots), *self.item_shape), dtype=self.dtype)
        size = self._item_bytes
        target = result.numpy().reshape(-1).view(np.uint8).data
        order = np.argsort(slots, kind="stable")
        last = -1
        # Item by item: a decoded one is copied while it is in the cache, and its memory serves the next one.
        for place, slot in zip(order.tolist(), slots[order].tolist(), strict=True):
            if slot != last:
                item, last = lz4.block.decompress(self._blocks[slot], size), slot
            target[place * size : (place + 1) * size] = item
        return result

    def state_dict(self, used: int) -> dict[str, Any]:
        """Returns the first `used` blocks as one tensor of bytes and their lengths."""
        blocks = [block or b"" for block in self._blocks[:used].tolist()]
        lengths = torch.tensor([len(block) for block in blocks], dtype=torch.int64)
        joined = bytearray().join(blocks)
        # torch.frombuffer refuses a buffer of no bytes.
        blob = torch.frombuffer(joined, dtype=torch.uint8) if joined else torch.empty(0, dtype=torch.uint8)
        return describe_storage(self, "lz4") | {"blob": blob, "lengths": lengths}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        check_state(state, describe_storage(self, "lz4"))
        blob = memoryview(state["blob"].numpy())
        ends = np.cumsum(state["lengths"].numpy())
        starts = ends - state["lengths"].numpy()
        self._blocks[:] = None
        for slot, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            self._blocks[slot] = bytes(blob[start:end]) if end > start else None
