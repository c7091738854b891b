"""Cuts the rows of a batch where resets stand, for networks that know no resets themselves."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence


class RowPieces(NamedTuple):
    """The pieces between resets, in the order of their rows and positions.

    Attributes:
        row: the row of the batch that each piece comes from.
        start: the place in it of its first position.
        continues: True where a piece goes on with the row's carried state: it is the first one, and not reset.
        last: the number of each row's last piece.
        lengths: how many positions each piece has.
    """

    row: Int64[Tensor, " p"]
    start: Int64[Tensor, " p"]
    continues: Bool[Tensor, " p"]
    last: Int64[Tensor, " b"]
    lengths: list[int]

    def pack(self, x: Float[Tensor, "b l d"]) -> PackedSequence:
        """Returns the pieces as sequences of their own."""
        return pack_sequence(list(torch.split(x.flatten(0, 1), self.lengths)), enforce_sorted=False)

    def unpack(self, packed: PackedSequence) -> Float[Tensor, "b l d"]:
        """Returns the rows put together again."""
        together = torch.cat(unpack_sequence(packed))
        return together.view(len(self.last), -1, together.shape[1])

    def start_states(self, carried: Float[Tensor, "b d"]) -> Float[Tensor, "p d"]:
        """Returns the state before each piece: the row's carried one, or zeros."""
        return torch.where(self.continues.unsqueeze(1), carried[self.row], 0.0)


def pieces_between(resets: Bool[Tensor, "b l"]) -> RowPieces:
    """Returns the pieces into which the resets cut the rows; each position is in one of them."""
    batch_size, length = resets.shape
    begins = resets.clone()
    begins[:, 0] = True
    row, start = begins.nonzero(as_tuple=True)
    flat = row * length + start
    ends = torch.cat([flat[1:], flat.new_tensor([batch_size * length])])
    return RowPieces(
        row=row,
        start=start,
        continues=(start == 0) & ~resets[row, 0],
        last=begins.sum(dim=1).cumsum(dim=0) - 1,
        lengths=(ends - flat).tolist(),
    )
