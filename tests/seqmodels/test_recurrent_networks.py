"""GRU and LSTM against the equations of their papers, one position after the other."""

import torch
from torch import Tensor

from seqmodels.gru import GRU
from seqmodels.lstm import LSTM

B, L, D = 2, 7, 5


def inputs() -> Tensor:
    return torch.randn(B, L, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_gru_follows_its_equations():
    torch.manual_seed(0)
    mixer = GRU(D).double()
    w_input, w_hidden = mixer.gru.weight_ih_l0, mixer.gru.weight_hh_l0
    b_input, b_hidden = mixer.gru.bias_ih_l0, mixer.gru.bias_hh_l0
    hidden = torch.zeros(B, D, dtype=torch.float64)
    output, state = mixer(inputs())
    for t in range(L):
        from_input = (inputs()[:, t] @ w_input.T + b_input).chunk(3, dim=1)
        from_hidden = (hidden @ w_hidden.T + b_hidden).chunk(3, dim=1)
        reset, update = ((a + b).sigmoid() for a, b in zip(from_input[:2], from_hidden[:2], strict=True))
        candidate = (from_input[2] + reset * from_hidden[2]).tanh()
        hidden = (1 - update) * candidate + update * hidden
        assert torch.allclose(output[:, t], hidden, atol=1e-12)
    assert torch.allclose(state.hidden, hidden, atol=1e-12)


@torch.no_grad()
def test_lstm_follows_its_equations():
    torch.manual_seed(0)
    mixer = LSTM(D).double()
    hidden = cell = torch.zeros(B, D, dtype=torch.float64)
    output, state = mixer(inputs())
    for t in range(L):
        gates = inputs()[:, t] @ mixer.lstm.weight_ih_l0.T + mixer.lstm.bias_ih_l0
        gates = gates + hidden @ mixer.lstm.weight_hh_l0.T + mixer.lstm.bias_hh_l0
        enter, forget, candidate, leave = gates.chunk(4, dim=1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
        hidden = leave.sigmoid() * cell.tanh()
        assert torch.allclose(output[:, t], hidden, atol=1e-12)
    assert torch.allclose(state.cell, cell, atol=1e-12)
