import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.signal import cont2discrete

from seqmodels.diagonal_recurrence import Diagonal, kernel, power_levels
from seqmodels.s4d import S4D, S4DState, bilinear, s4d_inv, s4d_legs, s4d_lin, s4d_real, zero_order_hold

D = 3
DT = torch.tensor([1e-3, 1e-2, 1e-1])
METHODS = {zero_order_hold: "zoh", bilinear: "bilinear"}  # SciPy's names

every_initialization = pytest.mark.parametrize("initialization", [s4d_legs, s4d_lin, s4d_inv, s4d_real])
every_discretization = pytest.mark.parametrize("discretization", METHODS)


def layer(initialization=s4d_legs, discretization=zero_order_hold, dtype=torch.float64, d_state=64):
    torch.manual_seed(0)
    s4d = S4D(D, d_state=d_state, initialization=initialization, discretization=discretization)
    with torch.no_grad():
        s4d.log_dt.copy_(DT.log())
    return s4d.to(dtype)


def real_system(s4d, channel):
    """Returns the real matrix, input column and output row of a channel: a 2 x 2 block per complex pole."""
    real = -s4d.log_A_real[channel].detach().double().exp().numpy()
    c = s4d.C[channel].detach().double().numpy()
    if s4d.A_imag is None:
        return np.diag(real), np.ones(len(real)), c
    imaginary = s4d.A_imag[channel].detach().double().numpy()
    a = np.zeros((2 * len(real), 2 * len(real)))
    for n, (re, im) in enumerate(zip(real, imaginary, strict=True)):
        a[2 * n : 2 * n + 2, 2 * n : 2 * n + 2] = [[re, -im], [im, re]]
    return a, np.tile([1.0, 0.0], len(real)), (2.0 * c * [1.0, -1.0]).flatten()


def dense_kernel(s4d, method, length):
    """The oracle: SciPy's rule on the real system, then one product per position."""
    kernels = []
    for channel, log_dt in enumerate(s4d.log_dt.detach().double()):
        a, b, c = real_system(s4d, channel)
        system = (a, b[:, None], c[None], np.zeros((1, 1)))
        step, column, *_ = cont2discrete(system, math.exp(log_dt), method=method)
        state, taps = column[:, 0], np.empty(length)
        for position in range(length):
            taps[position] = c @ state  # SciPy changes C for the bilinear rule: our own is used
            state = step @ state
        kernels.append(taps)
    return np.stack(kernels)


def largest_error(kernel, expected):
    """Relative to the largest number of each channel."""
    error = np.abs(kernel.detach().double().numpy() - expected)
    return (error.max(axis=1) / np.abs(expected).max(axis=1)).max()


def assert_errors_are_small(single, double, expected):
    length = expected.shape[1]
    errors = [largest_error(s4d.kernel(length), expected) for s4d in (single, double)]
    print(
        f"S4D, length {length:,}: {errors[0]:.1e} in float32, {errors[1]:.1e} in float64"
    )  # docs/results/sequences.md
    assert errors[0] < 1e-6
    assert errors[1] < 1e-12


@every_initialization
@every_discretization
@pytest.mark.parametrize("length", [1, 2, 1021])
def test_the_kernel_equals_the_dense_recurrence(initialization, discretization, length):
    single = layer(initialization, discretization, torch.float32)
    double = layer(initialization, discretization)
    expected = dense_kernel(double, METHODS[discretization], length)  # both hold the same numbers, drawn in float32
    assert_errors_are_small(single, double, expected)


@pytest.mark.parametrize("length", [8192, 16384])
def test_a_long_kernel_equals_the_dense_recurrence(length):
    single, double = layer(dtype=torch.float32), layer()
    assert_errors_are_small(single, double, dense_kernel(double, "zoh", length))


def test_poles_are_the_numbers_worked_out_by_hand():
    np.testing.assert_allclose(s4d_lin(4), [-0.5, -0.5 + 1j * math.pi])
    np.testing.assert_allclose(s4d_inv(4), [-0.5 + 12j / math.pi, -0.5 + 4j / (3 * math.pi)])
    np.testing.assert_allclose(s4d_real(3), [-1.0, -2.0, -3.0])
    assert abs(s4d_legs(64)[-1] - (-0.5 + 1303.2738j)) < 1e-4


@pytest.mark.parametrize("length", [1, 2, 7, 17])
def test_powers_are_products_also_of_zero(length):
    a = torch.tensor([[0.0, -0.5, 2.0]], dtype=torch.float64)
    levels = power_levels(a, length)
    products = (levels.coarse[:, :, None] * levels.fine[:, None]).flatten(1, 2)[0, :length]
    np.testing.assert_array_equal(products.numpy(), a[0].numpy() ** np.arange(length)[:, None])


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("length", [1, 2, 7, 17])
def test_gradients_of_powers_equal_differences(dtype, length):
    a = 0.5 * torch.randn(D, 2, dtype=dtype, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: tuple(power_levels(x, length)), (a.requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("length", [1, 2, 7, 17])
def test_gradients_of_the_kernel_equal_differences(dtype, length):
    generator = torch.Generator().manual_seed(0)
    a, b, c = (0.5 * torch.randn(D, 2, dtype=dtype, generator=generator) for _ in range(3))
    a[0, 0] = 0.0  # which has no logarithm
    leaves = [part.requires_grad_() for part in (a, b, c)]
    assert torch.autograd.gradcheck(lambda *parts: kernel(Diagonal(*parts), length, torch.float64), leaves)


@pytest.mark.parametrize("initialization", [s4d_legs, s4d_real])
@every_discretization
@pytest.mark.parametrize("length", [1, 5, 29])
def test_convolution_and_steps_give_the_same_outputs_states_and_gradients(initialization, discretization, length):
    batch, d_state = 2, 22
    s4d = layer(initialization, discretization, d_state=d_state)
    generator = torch.Generator().manual_seed(1)
    x, before, weight, end_weight = (
        torch.randn(batch, *shape, dtype=torch.float64, generator=generator).requires_grad_()
        for shape in ((length, D), (D, d_state), (length, D), (D, d_state))
    )
    leaves = [x, before, s4d.C, *s4d.state_space_parameters()]

    def results(y, end):
        total = (y * weight).sum() + (end.x * end_weight).sum()
        return [y, end.x, *torch.autograd.grad(total, leaves)]

    stepped, state = [], S4DState(before)
    for position in range(length):
        y, state = s4d.step(x[:, position], state)
        stepped.append(y)
    pairs = zip(results(*s4d(x, state=S4DState(before))), results(torch.stack(stepped, dim=1), state), strict=True)
    for convolved, expected in pairs:
        assert (convolved - expected).abs().max() < 1e-12 * expected.abs().max()


@pytest.mark.parametrize("initialization", [s4d_lin, s4d_real])
def test_resets_in_a_long_row_equal_separate_rows(initialization):
    s4d, length, cuts = layer(initialization, dtype=torch.float32), 151, [0, 3, 64, 65, 140, 151]
    x = torch.randn(1, length, D, generator=torch.Generator().manual_seed(1))
    resets = torch.zeros(1, length, dtype=torch.bool)
    resets[0, cuts[1:-1]] = True
    with torch.no_grad():
        together, _ = s4d(x, resets=resets)
        pieces = [s4d(x[:, begin:end])[0] for begin, end in pairwise(cuts)]
    assert (together - torch.cat(pieces, dim=1)).abs().max() < 1e-5 * together.abs().max()


def test_a_step_uses_parameters_changed_since_the_last_one():
    s4d = layer().eval()
    x = torch.randn(2, 5, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        s4d.step(x[:, 0], s4d.initial_state(2))
        for parameter in s4d.parameters():
            parameter.mul_(1.1)
        stepped, _ = s4d.step(x[:, 0], s4d.initial_state(2))
        torch.testing.assert_close(stepped, s4d(x)[0][:, 0])


@every_initialization
def test_what_learns_slowly_is_everything_but_c_d_and_the_output(initialization):
    s4d = layer(initialization)
    slow = {id(parameter) for parameter in s4d.state_space_parameters()}
    rest = {name for name, parameter in s4d.named_parameters() if id(parameter) not in slow}
    assert rest == {"C", "D", "output.linear.weight", "output.linear.bias"}


def test_bad_sizes_are_refused():
    for initialization in (s4d_legs, s4d_lin, s4d_inv):
        with pytest.raises(ValueError, match="d_state must be a positive even number, got 7"):
            S4D(D, d_state=7, initialization=initialization)
    with pytest.raises(ValueError, match="d_state must be positive, got 0"):
        S4D(D, d_state=0, initialization=s4d_real)
