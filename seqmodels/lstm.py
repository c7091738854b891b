"""Long short-term memory (Hochreiter & Schmidhuber 1997; with a forget gate, Gers et al. 2000), a reference."""

from contextlib import nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .carried_state import check_state_fits
from .row_pieces import pieces_between


class LSTMState(NamedTuple):
    """The hidden vector and the cell of each row."""

    hidden: Float[Tensor, "b d"]
    cell: Float[Tensor, "b d"]


class LSTM(nn.Module):
    """PyTorch's LSTM behind the contract of mixers; its outputs are its hidden vectors, of d_model numbers.

    On a CPU it computes in its weights' precision, also under autocast: PyTorch's LSTM of bfloat16 needs AVX-512 there.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.lstm = nn.LSTM(d_model, d_model, batch_first=True)

    def forward(
        self, x: Float[Tensor, "b l d"], *, state: LSTMState | None = None, resets: Bool[Tensor, "b l"] | None = None
    ) -> tuple[Float[Tensor, "b l d"], LSTMState]:
        """Returns the outputs and the state after the last position, see `SequenceModel`."""
        if state is None:
            state = self.initial_state(len(x))
        else:
            check_state_fits(state, len(x), self.initial_state(0))
        on_cpu = x.device.type == "cpu"
        x = x.to(next(self.parameters()).dtype) if on_cpu else x
        with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
            if resets is None or not resets.any():
                output, (hidden, cell) = self.lstm(x, (state.hidden.unsqueeze(0), state.cell.unsqueeze(0)))
                return output, LSTMState(hidden.squeeze(0), cell.squeeze(0))
            pieces = pieces_between(resets)
            start = (pieces.start_states(state.hidden).unsqueeze(0), pieces.start_states(state.cell).unsqueeze(0))
            packed, (hidden, cell) = self.lstm(pieces.pack(x), start)
            return pieces.unpack(packed), LSTMState(hidden.squeeze(0)[pieces.last], cell.squeeze(0)[pieces.last])

    def initial_state(self, batch_size: int) -> LSTMState:
        """Returns zeros."""
        zeros = next(self.parameters()).new_zeros(batch_size, self.d_model)
        return LSTMState(zeros, zeros.clone())

    def step(self, x: Float[Tensor, "b d"], state: LSTMState) -> tuple[Float[Tensor, "b d"], LSTMState]:
        """Returns the output at one position, and the state after it."""
        output, state = self(x.unsqueeze(1), state=state)
        return output.squeeze(1), state

    def state_size(self, length: int) -> int:
        """Returns 2 d_model: the state does not grow."""
        return 2 * self.d_model
