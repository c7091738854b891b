"""What follows the recurrence in a block of S4 or S4D: the non-linearity, and the only mixing of channels."""

from jaxtyping import Float
from torch import Tensor, nn


class GatedOutput(nn.Module):
    """GELU, then a linear layer to twice the channels, half of which gate the other half (GLU), as in S4's own code."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.linear = nn.Linear(d_model, 2 * d_model)

    def forward(self, y: Float[Tensor, "*lead d"]) -> Float[Tensor, "*lead d"]:
        """Returns one vector per vector."""
        out: Tensor = nn.functional.glu(self.linear(nn.functional.gelu(y)), dim=-1)
        return out
