import pytest
import torch

from seqmodels.piecewise import run_piecewise

B, D, N = 3, 2, 5


def recurrence(u, state):
    """One position after the other: every number of the state fades at its own rate, and takes the input in."""
    decay = torch.linspace(0.1, 0.9, N, dtype=u.dtype)
    state = torch.zeros(len(u), D, N, dtype=u.dtype) if state is None else state
    outputs = []
    for position in range(u.shape[1]):
        state = decay * state + u[:, position, :, None]
        outputs.append(state.sum(-1))
    return torch.stack(outputs, dim=1), state


def recurrence_with_resets(u, state, resets):
    """The slow twin: the same recurrence, which forgets at every reset."""
    outputs = []
    state = torch.zeros(B, D, N, dtype=u.dtype) if state is None else state
    for position in range(u.shape[1]):
        state = torch.where(resets[:, position, None, None], 0.0, state)
        y, state = recurrence(u[:, position : position + 1], state)
        outputs.append(y)
    return torch.cat(outputs, dim=1), state


def inputs(length, seed=1):
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(B, length, D, dtype=torch.float64, generator=generator)
    return u, torch.randn(B, D, N, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("length", [1, 2, 13, 31])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("with_state", [True, False])
def test_resets_anywhere_equal_the_recurrence_that_forgets_there(length, share, with_state):
    u, state = inputs(length)
    resets = torch.rand(B, length, generator=torch.Generator().manual_seed(2)) < share
    before = state if with_state else None
    pairs = zip(run_piecewise(recurrence, u, before, resets), recurrence_with_resets(u, before, resets), strict=True)
    for actual, expected in pairs:
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("place", [0, 3, 8, 16])
def test_what_is_not_a_number_does_not_outlive_a_reset(place):
    u, state = inputs(17)
    u[0, :place] = torch.nan
    state[0] = torch.inf
    resets = torch.zeros(B, 17, dtype=torch.bool)
    resets[0, place] = True
    y, end = run_piecewise(recurrence, u, state, resets)
    assert y[0, place:].isfinite().all()
    assert y[1:].isfinite().all()
    assert end.isfinite().all()


def test_gradients_with_resets_equal_the_recurrences():
    u, state = (part.requires_grad_() for part in inputs(17))
    resets = torch.rand(B, 17, generator=torch.Generator().manual_seed(2)) < 0.2

    def gradients(outputs):
        weights = inputs(17, seed=3)
        total = sum((one * weight).sum() for one, weight in zip(outputs, weights, strict=True))
        return torch.autograd.grad(total, [u, state])

    fast = gradients(run_piecewise(recurrence, u, state, resets))
    slow = gradients(recurrence_with_resets(u, state, resets))
    for actual, expected in zip(fast, slow, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_pieces_take_at_most_twice_the_numbers_of_the_rows():
    taken = []

    def run(u, state):
        taken.append(u.shape[0] * u.shape[1])
        return recurrence(u, state)

    u, state = inputs(64)
    resets = torch.zeros(B, 64, dtype=torch.bool)
    resets[0] = True
    resets[1, ::5] = True
    run_piecewise(run, u, state, resets)
    assert sum(taken) <= 2 * B * 64
