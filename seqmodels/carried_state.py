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


def check_state_fits(state: tuple[Any, ...], batch_size: int) -> None:
    """Raises ValueError unless every tensor of the state has as many rows as the batch."""
    for tensor in tensors_of(state):
        if tensor.shape[:1] != (batch_size,):
            raise ValueError(
                f"the state must have as many rows as the batch, {batch_size}, got a tensor of shape "
                f"{tuple(tensor.shape)} in it"
            )
