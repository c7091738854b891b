"""Mamba-2's matrix products give the numbers of the recurrence that they replace."""

from typing import Any

import pytest
import torch
from torch import Tensor

from seqmodels.scans import DualResult, state_space_dual
from seqmodels.scans.state_space_dual import _Decays

NAMES = ("x", "dt", "A", "B", "C", "D", "initial_state")
B, H, P, G, N = 2, 6, 5, 3, 7


def dual_inputs(length: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(length)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs = {
        "x": draw(B, length, H, P),
        "dt": torch.nn.functional.softplus(draw(B, length, H) - 1),
        "A": -draw(H).exp(),
        "B": draw(B, length, G, N),
        "C": draw(B, length, G, N),
        "D": draw(H),
        "initial_state": draw(B, H, P, N),
    }
    return {name: part.to(dtype) for name, part in inputs.items()}


def loop(x: Any, dt: Any, A: Any, B: Any, C: Any, *, D: Any, initial_state: Any, resets: Any = None) -> DualResult:
    """The recurrence as it is defined."""
    state, outputs = initial_state, []
    B, C = (part.repeat_interleave(x.shape[2] // part.shape[2], dim=2) for part in (B, C))
    for t in range(x.shape[1]):
        if resets is not None:
            state = torch.where(resets[:, t, None, None, None], 0.0, state)
        decay = torch.exp(dt[:, t] * A)[..., None, None]
        state = decay * state + torch.einsum("bh,bhp,bhn->bhpn", dt[:, t], x[:, t], B[:, t])
        outputs.append(torch.einsum("bhpn,bhn->bhp", state, C[:, t]) + D[:, None] * x[:, t])
    return DualResult(torch.stack(outputs, 1), state)


def run(scan: Any, inputs: dict[str, Tensor], **options: Any) -> tuple[list[Tensor], list[Tensor]]:
    leaves = {name: part.clone().requires_grad_() for name, part in inputs.items()}
    results = scan(*(leaves[name] for name in NAMES[:5]), **{name: leaves[name] for name in NAMES[5:]}, **options)
    loss = sum((part * torch.linspace(-1, 1, part.numel()).view_as(part)).sum() for part in results)
    assert isinstance(loss, Tensor)
    return [part.detach() for part in results], list(torch.autograd.grad(loss, list(leaves.values())))


def largest_error(actual: list[Tensor], expected: list[Tensor]) -> float:
    return float(max((a - e).abs().max() / e.abs().max() for a, e in zip(actual, expected, strict=True)))


@pytest.mark.parametrize("chunk_length", [1, 4, 64])
@pytest.mark.parametrize("length", [1, 8, 37])
@pytest.mark.parametrize("with_resets", [False, True])
def test_outputs_states_and_gradients_equal_the_recurrences(chunk_length, length, with_resets):
    inputs = dual_inputs(length)
    resets = torch.rand(B, length, generator=torch.Generator().manual_seed(1)) < 0.2 if with_resets else None
    results, gradients = run(state_space_dual, inputs, resets=resets, chunk_length=chunk_length)
    expected_results, expected_gradients = run(loop, inputs, resets=resets)
    assert largest_error(results, expected_results) < 1e-12
    assert largest_error(gradients, expected_gradients) < 1e-12


@pytest.mark.parametrize("with_resets", [False, True])
def test_gradients_equal_finite_differences(with_resets):
    inputs = dual_inputs(5)
    resets = torch.rand(B, 5, generator=torch.Generator().manual_seed(1)) < 0.3 if with_resets else None
    leaves = [inputs[name].requires_grad_() for name in NAMES]

    def both(*parts: Tensor) -> tuple[Tensor, ...]:
        options = dict(zip(NAMES[5:], parts[5:], strict=True))
        return tuple(state_space_dual(*parts[:5], **options, resets=resets, chunk_length=3))

    # Fast: in random directions, not one number at a time.
    assert torch.autograd.gradcheck(both, leaves, fast_mode=True)


def test_gradients_of_decays_equal_finite_differences():
    reached = -torch.rand(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).cumsum(-1)
    linked = torch.ones(5, 5, dtype=torch.bool).tril()
    linked[3:, :2] = False  # a reset in between
    assert torch.autograd.gradcheck(lambda x: _Decays.apply(x, linked, torch.float64), [reached.requires_grad_()])


def test_long_decays_keep_float32s_digits():
    # Sums of dt A reach -2,000 within a chunk; a difference of two such sums in float32 would have 4 digits left.
    inputs = dual_inputs(64, torch.float32)
    inputs["dt"] = inputs["dt"] + 10.0
    inputs["A"] = inputs["A"].clamp(-3.0, -1.0)
    inputs["dt"][:, 1::2] = 1e-4
    results, _ = run(state_space_dual, inputs)
    exact, _ = run(loop, {name: part.double() for name, part in inputs.items()})
    assert largest_error(results, exact) < 1e-5


@pytest.mark.usefixtures("unchecked_signatures")
def test_a_state_that_does_not_fit_is_refused():
    inputs = dual_inputs(3)
    with pytest.raises(ValueError, match=r"initial state must have shape \(2, 6, 5, 7\), got \(1, 6, 5, 7\)"):
        state_space_dual(*(inputs[name] for name in NAMES[:5]), initial_state=inputs["initial_state"][:1])


def test_heads_that_do_not_divide_into_groups_are_refused():
    inputs = dual_inputs(3)
    four = [inputs[name].repeat(1, 1, 2, 1)[:, :, :4] for name in ("B", "C")]
    with pytest.raises(ValueError, match="heads must be a multiple of the groups, got 6 and 4"):
        state_space_dual(inputs["x"], inputs["dt"], inputs["A"], *four)
