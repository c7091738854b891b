import numpy as np
import pytest
import torch

from seqmodels import fft_convolution as module
from seqmodels.fft_convolution import fft_convolution, good_length

B, L, D = 5, 13, 3


def normal(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.fixture(params=[1, 3, B], ids=["a row at a time", "three and the rest", "all at once"])
def block(request, monkeypatch):
    rows = request.param
    monkeypatch.setattr(module, "_blocks", lambda x, _: [slice(i, i + rows) for i in range(0, len(x), rows)])


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("taps", [1, 5, 13, 17])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_the_convolution_equals_numpys(taps, dtype, tolerance):
    u, kernel = normal(B, L, D, dtype=dtype), normal(D, taps, dtype=dtype, seed=1)
    y = fft_convolution(u, kernel)
    assert y.dtype == dtype
    for b in range(B):
        for d in range(D):
            expected = np.convolve(u[b, :, d].double(), kernel[d].double())[:L]
            assert np.abs(y[b, :, d].numpy() - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("taps", [5, 17])
def test_its_gradients_equal_differences(taps):
    u, kernel = normal(B, L, D).requires_grad_(), normal(D, taps, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(fft_convolution, (u, kernel))


@pytest.mark.usefixtures("block")
def test_a_kernel_that_does_not_learn_passes_the_gradient_on():
    u, kernel = normal(B, L, D).requires_grad_(), normal(D, 5, seed=1)
    assert torch.autograd.gradcheck(lambda x: fft_convolution(x, kernel), (u,))


def test_nothing_wraps_around_from_the_end_to_the_start():
    u, kernel = torch.zeros(1, L, 1, dtype=torch.float64), torch.ones(1, L, dtype=torch.float64)
    u[0, L - 1] = 1.0
    assert fft_convolution(u, kernel)[0, : L - 1].abs().max() < 1e-15


def test_good_lengths_have_small_factors_only_and_are_the_next_ones():
    assert [good_length(n) for n in (1, 7, 11, 17, 121, 1025)] == [1, 8, 12, 18, 125, 1080]
