"""What holds for the state of every mixer: a tuple, nested or not, of tensors whose first axis is the batch."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from jaxtyping import Shaped
from torch import Tensor

State = TypeVar("State", bound=tuple[Any, ...])


def tensors_of(state: tuple[Any, ...]) -> Iterator[Tensor]:
    """Yields the tensors of a state, in order."""
    for part in state:
        if isinstance(part, Tensor):
            yield part
        else:
            yield from tensors_of(part)


def map_state(function: Callable[[Tensor], Tensor], state: State) -> State:
    """Returns a state of the same kind with the function applied to every tensor."""
    parts = [function(part) if isinstance(part, Tensor) else map_state(function, part) for part in state]
    # A NamedTuple takes its fields one by one, a plain tuple takes them all at once.
    return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)


def select_rows(state: State, rows: Shaped[Tensor, " n"]) -> State:
    """Returns the state of these rows of the batch, given by number or by a mask."""
    return map_state(lambda tensor: tensor[rows], state)


def detach(state: State) -> State:
    """Returns the state cut off from the graph that computed it, for truncated back-propagation through time."""
    return map_state(Tensor.detach, state)


def check_state_fits(state: tuple[Any, ...], batch_size: int, like: tuple[Any, ...] | None = None) -> None:
    """Raises ValueError unless every tensor of the state has as many rows as the batch.

    Args:
        like: where given, an initial state, of any number of rows, whose types and shapes beyond the batch the state
            must have too. An axis of length 0 in it is one that grows, and may have any length.
    """
    if like is not None:
        _check_kind(state, like)
    for tensor in tensors_of(state):
        if tensor.shape[:1] != (batch_size,):
            raise ValueError(
                f"the state must have as many rows as the batch, {batch_size}, got a tensor of shape "
                f"{tuple(tensor.shape)} in it"
            )
    if like is not None:
        for tensor, first in zip(tensors_of(state), tensors_of(like), strict=True):
            _check_shape(tensor, first)


def _check_kind(part: object, like: object) -> None:
    """Raises ValueError unless both are tensors, or states of the same type whose parts agree."""
    if isinstance(part, Tensor) and isinstance(like, Tensor):
        return
    if type(part) is not type(like):
        raise ValueError(f"the state must be of type {type(like).__name__} here, got {type(part).__name__}")
    assert isinstance(part, tuple)  # as every state is
    assert isinstance(like, tuple)
    if len(part) != len(like):
        raise ValueError(f"the state must have {len(like)} parts, got {len(part)}")
    for one, other in zip(part, like, strict=True):
        _check_kind(one, other)


def _check_shape(tensor: Tensor, like: Tensor) -> None:
    """Raises ValueError unless the shapes beyond the batch agree, where those of `like` are not 0."""
    sizes, expected = tensor.shape[1:], like.shape[1:]
    if len(sizes) != len(expected) or any(size not in (0, own) for own, size in zip(sizes, expected, strict=True)):
        wanted = ", ".join(["batch", *(str(size or "any") for size in expected)])
        raise ValueError(f"the state must have a tensor of shape ({wanted}) here, got {tuple(tensor.shape)}")
