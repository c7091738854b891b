"""What a replay needs of the memory that holds its frames, and the errors that all of them share."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from numpy.typing import NDArray
from torch import Tensor


@runtime_checkable
class FrameStorage(Protocol):
    """Holds `capacity` items of one shape and dtype, addressed by slot; knows nothing of episodes.

    An item is one frame, uint8 (C, H, W), or any other array with at least one axis (float features, say). A slot
    that was never written reads as anything; the replay never asks for one.
    """

    @property
    def capacity(self) -> int:
        """Number of slots."""
        ...

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of one item."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Type of an item's numbers."""
        ...

    @property
    def device(self) -> torch.device:
        """Where `read` returns its items."""
        ...

    def write(self, slots: Int64[np.ndarray, " n"], items: Shaped[np.ndarray, "n *item"]) -> None:
        """Stores one item per slot, replacing what was there. The slots are distinct."""
        ...

    def read(self, slots: Int64[np.ndarray, " n"]) -> Shaped[Tensor, "n *item"]:
        """Returns a fresh tensor of the items at these slots, which may repeat."""
        ...

    def state_dict(self, used: int) -> dict[str, Any]:
        """Returns the first `used` slots as tensors and numbers; they may share memory with the live storage."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned, from a storage of the same kind, capacity and item."""
        ...


def check_storage_arguments(capacity: int, item_shape: tuple[int, ...]) -> None:
    """Raises ValueError unless a storage of `capacity` items of this shape makes sense."""
    if capacity < 1:
        raise ValueError(f"capacity must be at least 1, got {capacity}")
    if len(item_shape) < 1 or min(item_shape) < 1:
        raise ValueError(f"item_shape must have at least one axis, all of them at least 1, got {item_shape}")


def check_items(items: NDArray[Any], item_shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Raises ValueError unless these are items of this shape and dtype."""
    if items.shape[1:] != item_shape:
        raise ValueError(f"frames must have shape (N, {', '.join(map(str, item_shape))}), got {items.shape}")
    if items.dtype != numpy_dtype(dtype):
        raise ValueError(f"frames must be {numpy_dtype(dtype)}, got {items.dtype}")


def describe_storage(storage: FrameStorage, kind: str) -> dict[str, Any]:
    """Returns what the state of a storage has to agree on with the one that loads it."""
    return {
        "kind": kind,
        "capacity": storage.capacity,
        "item_shape": list(storage.item_shape),
        "dtype": str(storage.dtype),
    }


def check_state(state: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raises ValueError, naming the field, unless the state agrees with `describe_storage`."""
    for name, value in expected.items():
        if state.get(name) != value:
            raise ValueError(f"the saved replay storage has {name} {state.get(name)}, this one has {value}")


def numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    """Returns the NumPy dtype of the same name (torch.uint8 -> uint8)."""
    return np.dtype(str(dtype).removeprefix("torch."))
