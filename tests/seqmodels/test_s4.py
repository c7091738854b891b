from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.signal import cont2discrete

from seqmodels.hippo import legs
from seqmodels.s4 import S4, S4State

D = 3
DT = torch.tensor([1e-3, 1e-2, 1e-1])


def layer(dtype=torch.float64, d_state=64):
    torch.manual_seed(0)
    s4 = S4(D, d_state=d_state)
    with torch.no_grad():
        s4.log_dt.copy_(DT.log())
    return s4.to(dtype)


def numpy_of(parameter):
    array = parameter.detach().double().numpy()
    return array[..., 0] + 1j * array[..., 1] if array.ndim == 3 else array


def recurrence_kernel(a, b, c, dt, length):
    """The dense oracle: SciPy's bilinear rule, then one product per position."""
    step, column, *_ = cont2discrete((a, b[:, None], c[None], np.zeros((1, 1))), dt, method="bilinear")
    state, taps = column[:, 0], np.empty(length)
    for position in range(length):
        taps[position] = (c @ state).real  # SciPy changes C for this rule: our own is used
        state = step @ state
    return taps


def dense_kernel(s4, length):
    """The oracle's kernel of every channel, from the layer's parameters as they are."""
    taps = []
    for h in range(D):
        half = -np.exp(numpy_of(s4.log_A_real)[h]) + 1j * numpy_of(s4.A_imag)[h]
        poles, p, b, c = (np.concatenate([z, z.conj()]) for z in (half, *(numpy_of(x)[h] for x in (s4.P, s4.B, s4.C))))
        a = np.diag(poles) - np.outer(p, p.conj())
        taps.append(recurrence_kernel(a, b, c, np.exp(numpy_of(s4.log_dt)[h]), length))
    return np.stack(taps)


def largest_error(kernel, expected):
    """Relative to the largest number of each channel."""
    error = np.abs(kernel.detach().double().numpy() - expected)
    return (error.max(axis=1) / np.abs(expected).max(axis=1)).max()


@pytest.mark.parametrize("length", [1, 2, 7, 256, 1021, 16384])
def test_the_kernel_equals_the_dense_recurrence(length):
    single, double = layer(torch.float32), layer()
    expected = dense_kernel(double, length)  # both hold the same numbers, drawn in float32
    errors = [largest_error(s4.kernel(length), expected) for s4 in (single, double)]
    print(f"S4, length {length:,}: {errors[0]:.1e} in float32, {errors[1]:.1e} in float64")  # docs/results/sequences.md
    assert errors[0] < 1e-6
    assert errors[1] < 1e-11


def test_the_kernel_of_hippo_equals_that_of_its_real_matrix():
    a, b, p = legs(64)
    s4 = layer()
    with torch.no_grad():
        s4.C.copy_(s4.P * torch.tensor([1.0, -1.0]))  # C = P^*, which does not depend on the basis
    expected = np.stack([recurrence_kernel(a, b, p, dt, 211) for dt in DT.double().log().exp().numpy()])
    # The layer's parameters are rounded to float32 when it is built.
    assert largest_error(s4.kernel(211), expected) < 1e-4


def test_a_kernel_of_another_length_has_the_same_numbers():
    s4 = layer()
    torch.testing.assert_close(s4.kernel(5), s4.kernel(1021)[:, :5], rtol=0, atol=1e-12)


def test_convolution_and_steps_give_the_same_outputs_states_and_gradients():
    length, batch, d_state = 11, 2, 22
    s4 = layer(d_state=d_state)
    generator = torch.Generator().manual_seed(1)
    x, before, weight, end_weight = (
        torch.randn(batch, *shape, dtype=torch.float64, generator=generator).requires_grad_()
        for shape in ((length, D), (D, d_state), (length, D), (D, d_state))
    )
    leaves = [x, before, s4.C, *s4.state_space_parameters()]

    def results(y, end):
        total = (y * weight).sum() + (end.x * end_weight).sum()
        return [y, end.x, *torch.autograd.grad(total, leaves)]

    stepped, state = [], S4State(before)
    for position in range(length):
        y, state = s4.step(x[:, position], state)
        stepped.append(y)
    pairs = zip(results(*s4(x, state=S4State(before))), results(torch.stack(stepped, dim=1), state), strict=True)
    for convolved, expected in pairs:
        assert (convolved - expected).abs().max() < 1e-11 * expected.abs().max()


def test_resets_in_a_long_row_equal_separate_rows():
    s4, length, cuts = layer(torch.float32), 151, [0, 3, 64, 65, 140, 151]
    x = torch.randn(1, length, D, generator=torch.Generator().manual_seed(1))
    resets = torch.zeros(1, length, dtype=torch.bool)
    resets[0, cuts[1:-1]] = True
    with torch.no_grad():
        together, _ = s4(x, resets=resets)
        pieces = [s4(x[:, begin:end])[0] for begin, end in pairwise(cuts)]
    assert (together - torch.cat(pieces, dim=1)).abs().max() < 1e-5 * together.abs().max()


@pytest.mark.parametrize("training", [True, False])
def test_a_step_uses_parameters_changed_since_the_last_one(training):
    s4 = layer().train(training)
    x = torch.randn(2, 5, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        s4.step(x[:, 0], s4.initial_state(2))
        s4(x)
        for parameter in s4.parameters():
            parameter.mul_(1.1)
        whole, _ = s4(x)
        stepped, _ = s4.step(x[:, 0], s4.initial_state(2))
        fresh = S4(D)
        fresh.double().load_state_dict(s4.state_dict())
        torch.testing.assert_close(fresh(x)[0], whole)
    torch.testing.assert_close(stepped, whole[:, 0])


def test_mixed_precision_leaves_the_recurrence_in_single_precision():
    s4 = layer(torch.float32)
    x = torch.randn(2, 67, D, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        exact, end = s4(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for resets in (None, torch.zeros(2, 67, dtype=torch.bool)):
                mixed, mixed_end = s4(x, resets=resets)
                assert mixed.dtype == torch.bfloat16
                torch.testing.assert_close(mixed_end.x, end.x, rtol=1e-4, atol=1e-5)
    assert (mixed - exact).abs().max() < 0.05 * exact.abs().max()


def test_time_steps_are_log_uniform_between_their_bounds():
    dt = S4(997, d_state=2, dt_min=0.01, dt_max=0.1).log_dt.exp()
    assert dt.min() >= 0.01 * (1 - 1e-6)
    assert dt.max() <= 0.1 * (1 + 1e-6)
    assert abs((dt < 0.1**1.5).float().mean() - 0.5) < 0.1  # half of them below the geometric middle


def test_what_learns_slowly_is_everything_but_c_d_and_the_output():
    s4 = layer()
    slow = {id(parameter) for parameter in s4.state_space_parameters()}
    rest = {name for name, parameter in s4.named_parameters() if id(parameter) not in slow}
    assert rest == {"C", "D", "output.linear.weight", "output.linear.bias"}


def test_bad_sizes_and_time_steps_are_refused():
    with pytest.raises(ValueError, match="d_state must be a positive even number, got 7"):
        S4(D, d_state=7)
    with pytest.raises(ValueError, match="0 < dt_min <= dt_max must hold, got 0.1 and 0.01"):
        S4(D, dt_min=0.1, dt_max=0.01)
