"""Reading in both directions: two causal mixers, the second on each row reversed within its length."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from .residual_block import Norm, ResidualBlock
from .residual_stack import blocks_of, common_width
from .sequence_model import SequenceModel, outputs_of


def reverse_rows(x: Float[Tensor, "b l d"], lengths: Int64[Tensor, " b"]) -> Float[Tensor, "b l d"]:
    """Returns each row with its first `lengths` positions in reverse; what pads it stays where it is."""
    column = torch.arange(x.shape[1], device=x.device)
    last = lengths.unsqueeze(1) - 1
    source = torch.where(column <= last, last - column, column)  # (B, L)
    return x.gather(1, source.unsqueeze(-1).expand_as(x))


class Bidirectional(nn.Module):
    """Joins what a mixer makes of a row and what another one makes of it from its end, by one linear map of both.

    Each position so depends on all positions of its row, whatever the mixers are.
    """

    def __init__(self, forward_mixer: SequenceModel[Any], backward_mixer: SequenceModel[Any]) -> None:
        super().__init__()
        self.d_model = common_width([forward_mixer, backward_mixer])
        self.forward_mixer = forward_mixer
        self.backward_mixer = backward_mixer
        self.out_proj = nn.Linear(2 * self.d_model, self.d_model)

    def forward(self, x: Float[Tensor, "b l d"], lengths: Int64[Tensor, " b"]) -> Float[Tensor, "b l d"]:
        """Returns the outputs; those at and after a row's length mean nothing."""
        ahead = outputs_of(self.forward_mixer, x)
        back = outputs_of(self.backward_mixer, reverse_rows(x, lengths))
        output: Tensor = self.out_proj(torch.cat([ahead, reverse_rows(back, lengths)], dim=-1))
        return output


class BidirectionalStack(nn.Module):
    """Residual blocks around given bidirectional parts, and a last norm; a `SequenceEncoder`.

    Args:
        mixers: at least one, of the same d_model; each is the stack's from now on.
        feed_forward_dim, dropout, norm: as in `ResidualStack`.
    """

    def __init__(
        self,
        mixers: Sequence[Bidirectional],
        *,
        feed_forward_dim: int | None,
        dropout: float = 0.0,
        norm: Norm = nn.LayerNorm,
    ) -> None:
        super().__init__()
        self.d_model = common_width(mixers)
        self.blocks = nn.ModuleList(
            ResidualBlock(mixer, self.d_model, feed_forward_dim=feed_forward_dim, dropout=dropout, norm=norm)
            for mixer in mixers
        )
        self.norm = norm(self.d_model)

    def encode(self, x: Float[Tensor, "b l d"], lengths: Int64[Tensor, " b"]) -> Float[Tensor, "b l d"]:
        """Returns the outputs; those at and after a row's length mean nothing."""
        for block in blocks_of(self.blocks):
            x = block.add(x, block.mixer(block.mixer_norm(x), lengths))
        output: Tensor = self.norm(x)
        return output
