"""Frames on the device that learns from them."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from .frame_storage import check_items, check_state, check_storage_arguments, describe_storage


class DeviceStorage:
    """A `FrameStorage` of `capacity` uncompressed items in one tensor on `device`, where batches are gathered.

    Memory: capacity x bytes of one item on the device, all of it taken at construction; none on the host.
    """

    def __init__(
        self,
        capacity: int,
        item_shape: tuple[int, ...],
        *,
        device: torch.device,
        dtype: torch.dtype = torch.uint8,
    ) -> None:
        check_storage_arguments(capacity, item_shape)
        self.capacity = capacity
        self.item_shape = item_shape
        self.dtype = dtype
        self.device = device
        self._items = torch.zeros((capacity, *item_shape), dtype=dtype, device=device)

    def write(self, slots: Int64[np.ndarray, " n"], items: Shaped[np.ndarray, "n *item"]) -> None:
        """Copies one item per slot to the device."""
        check_items(items, self.item_shape, self.dtype)
        self._items[self._on_device(slots)] = self._on_device(np.ascontiguousarray(items))

    def read(self, slots: Int64[np.ndarray, " n"]) -> Shaped[Tensor, "n *item"]:
        """Returns a fresh tensor, on the device, of the items at these slots; only the slots cross over."""
        return torch.index_select(self._items, 0, self._on_device(slots))

    def state_dict(self, used: int) -> dict[str, Any]:
        """Returns the first `used` items in host memory, sharing memory when the device is the CPU."""
        # By way of NumPy: torch.save would write the whole storage behind a slice of a tensor.
        return describe_storage(self, "device") | {"items": torch.from_numpy(self._items[:used].cpu().numpy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned, also on another device."""
        check_state(state, describe_storage(self, "device"))
        self._items[: len(state["items"])].copy_(state["items"])  # with no second copy on the device

    def _on_device(self, array: Shaped[np.ndarray, "n *item"]) -> Shaped[Tensor, "n *item"]:
        # CUDA has taken its own copy of pageable memory when this returns: nobody waits, and the array is free again.
        return torch.from_numpy(array).to(self.device, non_blocking=True)
