"""The causal convolution equals PyTorch's, on every piece between resets."""

import pytest
import torch
from torch import nn

from seqmodels.causal_convolution import causal_convolution

B, L, D = 3, 11, 5


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("taps", [1, 2, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_outputs_equal_those_of_a_padded_grouped_convolution(taps, bias):
    conv = nn.Conv1d(D, D, taps, groups=D, padding=taps - 1, bias=bias, dtype=torch.float64)
    x = draw(B, L, D)
    output, window = causal_convolution(x, x.new_zeros(B, taps - 1, D), conv.weight, conv.bias)
    torch.testing.assert_close(output, conv(x.transpose(1, 2))[..., :L].transpose(1, 2))
    torch.testing.assert_close(window, x[:, L - taps + 1 :])


@pytest.mark.parametrize("length", [1, 2, 7])
def test_the_window_carries_what_later_positions_see(length):
    x, weight, start = draw(B, L, D), draw(D, 1, 4), draw(B, 3, D)
    whole, last = causal_convolution(x, start, weight, None)
    first, window = causal_convolution(x[:, :length], start, weight, None)
    second, window = causal_convolution(x[:, length:], window, weight, None)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(window, last)


def test_a_reset_hides_every_input_before_it():
    x, weight, start = draw(1, L, D), draw(D, 1, 4), draw(1, 3, D)
    resets = torch.zeros(1, L, dtype=torch.bool)
    resets[0, [1, 7, 9]] = True
    nothing = torch.zeros_like(start)
    first, _ = causal_convolution(x[:, :1], start, weight, None)
    pieces = [causal_convolution(x[:, begin:end], nothing, weight, None) for begin, end in ((1, 7), (7, 9), (9, L))]
    output, window = causal_convolution(x, start, weight, None, resets)
    torch.testing.assert_close(output, torch.cat([first, *(piece.output for piece in pieces)], dim=1))
    torch.testing.assert_close(window, pieces[-1].window)
    x[0, :9] = torch.nan  # not even this
    assert causal_convolution(x, start, weight, None, resets).output[:, 9:].isfinite().all()


@pytest.mark.parametrize("with_resets", [False, True])
def test_gradients_equal_finite_differences(with_resets):
    resets = torch.rand(2, 5, generator=torch.Generator().manual_seed(0)) < 0.3 if with_resets else None
    leaves = [part.requires_grad_() for part in (draw(2, 5, 3), draw(2, 3, 3), draw(3, 1, 4), draw(3))]
    assert torch.autograd.gradcheck(lambda *parts: tuple(causal_convolution(*parts, resets)), leaves)
