"""What every mixer offers: the one contract behind which attention, state-space models and recurrent networks stand."""

from typing import Any, Protocol, TypeVar, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

State = TypeVar("State", bound=tuple[Any, ...])


@runtime_checkable
class SequenceModel(Protocol[State]):
    """Maps a sequence of vectors to one of the same shape, causally, and can stop and go on at any position.

    A whole sequence, its chunks with the state carried from one to the next, and single steps give the same numbers. A
    state is a NamedTuple of tensors, or a tuple of such states; every tensor has the batch as its first axis, so that
    rows can be selected (`carried_state.select_rows`). A state that was passed in is never modified, and a returned
    one is not detached from the graph.

    Attributes:
        d_model: length of the vectors, in and out.
    """

    d_model: int

    def __call__(
        self, x: Float[Tensor, "b l d"], *, state: State | None = None, resets: Bool[Tensor, "b l"] | None = None
    ) -> tuple[Float[Tensor, "b l d"], State]:
        """Returns the outputs, and the state after the last position.

        Args:
            x: the inputs; l is at least 1.
            state: what was returned for the positions before these; None at a sequence's start.
            resets: True where a position begins a new sequence. Nothing from before it in its row, `state` included,
                reaches it or what follows.

        Raises:
            ValueError: the state does not fit the batch, or is one of another mixer or of other settings.
        """
        ...

    def initial_state(self, batch_size: int) -> State:
        """Returns the state before the first position, on the module's device and in its dtype."""
        ...

    def step(self, x: Float[Tensor, "b d"], state: State) -> tuple[Float[Tensor, "b d"], State]:
        """Returns the output at one position, and the state after it."""
        ...

    def state_size(self, length: int) -> int:
        """Returns how many numbers are kept per row after `length` steps."""
        ...


@runtime_checkable
class GivesOutputsAlone(Protocol):
    """A mixer that saves work where nobody keeps its state."""

    def outputs(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Returns the outputs of whole rows, as a call without state and resets does, and no state."""
        ...


def outputs_of(mixer: SequenceModel[Any], x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
    """Returns the outputs of whole rows; the state after them is computed only where the mixer cannot do without."""
    return mixer.outputs(x) if isinstance(mixer, GivesOutputsAlone) else mixer(x)[0]
