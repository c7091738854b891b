from functools import partial

import pytest
import torch

from seqmodels import cauchy
from seqmodels.cauchy import Points, cauchy_sums, transposed_cauchy_sums

D, R, N, K = 3, 2, 5, 7


def normal(*shape, seed):
    return torch.randn(*shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def poles():
    return torch.complex(-0.1 - torch.rand(D, N, dtype=torch.float64), normal(D, N, seed=0).imag)


@pytest.fixture
def points():
    angle = torch.arange(K, dtype=torch.float64) * (torch.pi / (K - 1))  # the last one is w = -1: y = 0
    w = torch.exp(-1j * angle)
    return Points(2.0 * (1.0 - w), 1.0 + w)


@pytest.fixture(params=[3 * N, 2**17], ids=["three points at a time", "all at once"])
def block(request, monkeypatch):
    monkeypatch.setattr(cauchy, "numbers_at_once", lambda device: request.param)


@pytest.mark.usefixtures("block")
def test_sums_over_pairs_equal_the_double_loop(poles, points):
    weights = normal(D, R, N, seed=1)
    sums = cauchy_sums(weights, poles, points)
    for d in range(D):
        for r in range(R):
            for k in range(K):
                x, y, expected = points.x[k], points.y[k], 0
                for n in range(N):
                    w, a = weights[d, r, n], poles[d, n]
                    expected += w / (x - a * y) + w.conj() / (x - a.conj() * y)
                assert abs(sums[d, r, k] - expected) < 1e-12 * abs(expected)


@pytest.mark.usefixtures("block")
def test_sums_from_points_to_poles_equal_the_double_loop(poles, points):
    flows, weights = normal(D, R, K, seed=1), normal(K, seed=2)
    sums = transposed_cauchy_sums(flows, poles, points, weights)
    for d in range(D):
        for r in range(R):
            for n in range(N):
                a, expected = poles[d, n], 0
                for k in range(K):
                    f, x, y = flows[d, r, k] * weights[k], points.x[k], points.y[k]
                    expected += f / (x - a * y) + f.conj() / (x.conj() - a * y.conj())
                assert abs(sums[d, r, n] - expected) < 1e-12 * abs(expected)


@pytest.mark.usefixtures("block")
def test_gradients_of_both_sums_equal_differences(poles, points):
    weights = normal(D, R, N, seed=1).requires_grad_()
    flows = normal(D, R, K, seed=2).requires_grad_()
    poles = poles.clone().requires_grad_()
    # Fast: in random directions, not one number at a time.
    assert torch.autograd.gradcheck(lambda w, a: cauchy_sums(w, a, points), (weights, poles), fast_mode=True)
    factors = normal(K, seed=3)
    back = partial(transposed_cauchy_sums, points=points, weights=factors)
    assert torch.autograd.gradcheck(back, (flows, poles), fast_mode=True)
