"""The gated recurrent unit (Cho et al. 2014), a reference that remembers in one vector."""

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn

from .carried_state import check_state_fits
from .row_pieces import pieces_between


class GRUState(NamedTuple):
    """The hidden vector of each row."""

    hidden: Float[Tensor, "b d"]


class GRU(nn.Module):
    """PyTorch's GRU behind the contract of mixers; its outputs are its hidden vectors, so d_model is its state too."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.gru = nn.GRU(d_model, d_model, batch_first=True)

    def forward(
        self, x: Float[Tensor, "b l d"], *, state: GRUState | None = None, resets: Bool[Tensor, "b l"] | None = None
    ) -> tuple[Float[Tensor, "b l d"], GRUState]:
        """Returns the outputs and the state after the last position, see `SequenceModel`."""
        if state is None:
            state = self.initial_state(len(x))
        else:
            check_state_fits(state, len(x), self.initial_state(0))
        if resets is None or not resets.any():
            output, hidden = self.gru(x, state.hidden.unsqueeze(0))
            return output, GRUState(hidden.squeeze(0))
        pieces = pieces_between(resets)
        packed, hidden = self.gru(pieces.pack(x), pieces.start_states(state.hidden).unsqueeze(0))
        return pieces.unpack(packed), GRUState(hidden.squeeze(0)[pieces.last])

    def initial_state(self, batch_size: int) -> GRUState:
        """Returns zeros."""
        return GRUState(next(self.parameters()).new_zeros(batch_size, self.d_model))

    def step(self, x: Float[Tensor, "b d"], state: GRUState) -> tuple[Float[Tensor, "b d"], GRUState]:
        """Returns the output at one position, and the state after it."""
        output, state = self(x.unsqueeze(1), state=state)
        return output.squeeze(1), state

    def state_size(self, length: int) -> int:
        """Returns d_model: the state does not grow."""
        return self.d_model
