"""What every implementation of the selective scan returns."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class ScanResult(NamedTuple):
    """The outputs at every position, and the state after the last."""

    output: Float[Tensor, "b l d"]
    last_state: Float[Tensor, "b d n"]
