"""Frames as they are, in host memory."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from .frame_storage import check_items, check_state, check_storage_arguments, describe_storage, numpy_dtype


class RawStorage:
    """A `FrameStorage` of `capacity` uncompressed items in host memory.

    Memory: capacity x bytes of one item (7,056 for an 84x84 grey frame), taken from the system page by page as the
    slots are first written.
    """

    def __init__(self, capacity: int, item_shape: tuple[int, ...], *, dtype: torch.dtype = torch.uint8) -> None:
        check_storage_arguments(capacity, item_shape)
        self.capacity = capacity
        self.item_shape = item_shape
        self.dtype = dtype
        self.device = torch.device("cpu")
        # np.zeros maps pages lazily: a replay of a million frames that holds a thousand costs a thousand.
        self._items = np.zeros((capacity, *item_shape), dtype=numpy_dtype(dtype))
        self._tensor = torch.from_numpy(self._items)

    def write(self, slots: Int64[np.ndarray, " n"], items: Shaped[np.ndarray, "n *item"]) -> None:
        """Stores one item per slot."""
        check_items(items, self.item_shape, self.dtype)
        self._items[slots] = items

    def read(self, slots: Int64[np.ndarray, " n"]) -> Shaped[Tensor, "n *item"]:
        """Returns a fresh tensor of the items at these slots."""
        return torch.index_select(self._tensor, 0, torch.from_numpy(slots))

    def state_dict(self, used: int) -> dict[str, Any]:
        """Returns the first `used` items, sharing memory with the storage: save them before the next write."""
        return describe_storage(self, "raw") | {"items": torch.from_numpy(self._items[:used])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        check_state(state, describe_storage(self, "raw"))
        self._tensor[: len(state["items"])] = state["items"]
