import pytest
import torch

from seqmodels.time_invariant_scan import ChunkOperators, time_invariant_scan

B, D, N, Q = 3, 2, 5, 7


@pytest.fixture
def system():
    """A matrix, an input column and an output row per channel."""
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((D, N, N), (D, N), (D, N)))
    return 0.4 * a, b, c


def operators_of(a, b, c, size=Q):
    powers = [torch.eye(N, dtype=torch.float64).expand(D, N, N)]
    for _ in range(size):
        powers.append(a @ powers[-1])
    after = [(power @ b[..., None])[..., 0] for power in powers]
    return ChunkOperators(
        torch.stack([(c * x).sum(-1) for x in after[:size]], dim=1),
        torch.stack([(c[:, None] @ power)[:, 0] for power in powers[1:]], dim=2),
        torch.stack(after[:size][::-1], dim=1),
        lambda state, steps: state @ powers[steps].mT,
    )


def recurrence(a, b, c, u, state, resets):
    """The slow twin: one position after the other, and nothing else."""
    outputs = []
    for t in range(u.shape[1]):
        state = torch.where(resets[:, t, None, None], 0.0, state)
        state = (a @ state[..., None])[..., 0] + b * u[:, t, :, None]
        outputs.append((c * state).sum(-1))
    return torch.stack(outputs, dim=1), state


def inputs(length, seed=1):
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(B, length, D, dtype=torch.float64, generator=generator)
    return u, torch.randn(B, D, N, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("length", [1, 5, 7, 14, 31])
def test_chunks_equal_the_recurrence(system, length):
    u, state = inputs(length)
    expected = recurrence(*system, u, state, torch.zeros(B, length, dtype=torch.bool))
    for actual, number in zip(time_invariant_scan(u, operators_of(*system), state), expected, strict=True):
        torch.testing.assert_close(actual, number, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [1, 5, 14, 31])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_resets_anywhere_equal_the_recurrence(system, length, share):
    u, state = inputs(length)
    resets = torch.rand(B, length, generator=torch.Generator().manual_seed(2)) < share
    expected = recurrence(*system, u, state, resets)
    for actual, number in zip(time_invariant_scan(u, operators_of(*system), state, resets), expected, strict=True):
        torch.testing.assert_close(actual, number, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("place", [3, 7, 12])
def test_what_is_not_a_number_does_not_outlive_a_reset(system, place):
    u, state = inputs(17)
    u[0, :place] = torch.nan
    state[0] = torch.inf
    resets = torch.zeros(B, 17, dtype=torch.bool)
    resets[0, place] = True
    y, end = time_invariant_scan(u, operators_of(*system), state, resets)
    assert y[0, place:].isfinite().all()
    assert end.isfinite().all()


def test_gradients_with_resets_equal_the_recurrences(system):
    u, state = inputs(17)
    resets = torch.rand(B, 17, generator=torch.Generator().manual_seed(2)) < 0.2
    u, state = u.requires_grad_(), state.requires_grad_()
    parts = [part.requires_grad_() for part in system]

    def gradients(outputs):
        weights = inputs(17, seed=3)
        total = sum((one * weight).sum() for one, weight in zip(outputs, weights, strict=True))
        return torch.autograd.grad(total, [u, state, *parts])

    fast = gradients(time_invariant_scan(u, operators_of(*parts), state, resets))
    slow = gradients(recurrence(*parts, u, state, resets))
    for actual, expected in zip(fast, slow, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)
