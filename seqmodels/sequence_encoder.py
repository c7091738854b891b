"""What reads whole rows: the contract that classifiers and masked models ask of a stack, causal or not."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int64
from torch import Tensor


@runtime_checkable
class SequenceEncoder(Protocol):
    """Maps rows of vectors, padded on the right, to vectors of the same shape.

    Attributes:
        d_model: length of the vectors, in and out.
    """

    d_model: int

    def encode(self, x: Float[Tensor, "b l d"], lengths: Int64[Tensor, " b"]) -> Float[Tensor, "b l d"]:
        """Returns the outputs; those at and after a row's length mean nothing, and nothing depends on what is there."""
        ...
