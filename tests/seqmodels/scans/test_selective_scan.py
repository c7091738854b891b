"""Every backend of the selective scan gives the plain loop's numbers and gradients."""

import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from seqmodels.scans import reference_scan, selective_scan
from seqmodels.scans.cpp_scan import absence, cpp_scan
from seqmodels.scans.torch_scan import torch_scan

needs_compiler = pytest.mark.skipif(absence() is not None, reason=f"no C++ kernel: {absence()}")
IMPLEMENTATIONS = [
    pytest.param(cpp_scan, id="cpp", marks=needs_compiler),
    pytest.param(torch_scan, id="torch"),
    pytest.param(partial(torch_scan, num_segments=1), id="torch, 1 segment"),
    pytest.param(partial(torch_scan, num_segments=3), id="torch, 3 segments"),
]
every_implementation = pytest.mark.parametrize("scan", IMPLEMENTATIONS)
# Fewer channels than a vector has lanes, more, and exactly as many; one position; several chunks and blocks.
SHAPES = [(2, 7, 5, 3), (3, 131, 37, 17), (2, 67, 16, 1), (1, 1, 3, 2), (19, 5, 1, 2)]
NAMES = ("u", "dt", "A", "B", "C", "D", "z", "initial_state")


def scan_inputs(batch: int, length: int, channels: int, states: int, dtype: torch.dtype) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(batch + length)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs = {
        "u": draw(batch, length, channels),
        "dt": torch.nn.functional.softplus(draw(batch, length, channels) - 2),
        "A": -draw(channels, states).exp(),
        "B": draw(batch, length, states),
        "C": draw(batch, length, states),
        "D": draw(channels),
        "z": draw(batch, length, channels),
        "initial_state": draw(batch, channels, states),
    }
    return {name: part.to(dtype) for name, part in inputs.items()}


def some_resets(batch: int, length: int) -> Tensor:
    return torch.rand(batch, length, generator=torch.Generator().manual_seed(5)) < 0.15


def run(scan: Any, inputs: dict[str, Tensor], resets: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
    """Returns outputs and last state, and the gradients of a sum of both with fixed weights."""
    leaves = {name: part.clone().requires_grad_() for name, part in inputs.items()}
    given = dict(leaves)
    positional = [given.pop(name) for name in NAMES[:5]]
    results = list(scan(*positional, **given, resets=resets))
    generator = torch.Generator().manual_seed(3)
    loss = sum(
        (part * torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part.dtype)).sum()
        for part in results
    )
    assert isinstance(loss, Tensor)
    return [part.detach() for part in results], list(torch.autograd.grad(loss, list(leaves.values())))


def largest_error(actual: list[Tensor], expected: list[Tensor]) -> float:
    errors = [(one - other).abs().max() / other.abs().max() for one, other in zip(actual, expected, strict=True)]
    return float(max(errors))


@every_implementation
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("with_resets", [False, True])
def test_outputs_states_and_gradients_equal_the_loops(scan, shape, with_resets):
    inputs = scan_inputs(*shape, torch.float32)
    resets = some_resets(*shape[:2]) if with_resets else None
    results, gradients = run(scan, inputs, resets)
    # The loop in float64 on the same numbers: the error is all ours.
    exact = {name: part.double() for name, part in inputs.items()}
    expected_results, expected_gradients = run(reference_scan, exact, resets)
    assert largest_error(results, expected_results) < 1e-5
    assert largest_error(gradients, expected_gradients) < 1e-4


@every_implementation
def test_float64_agrees_to_its_precision(scan):
    inputs = scan_inputs(2, 67, 11, 5, torch.float64)
    resets = some_resets(2, 67)
    results, gradients = run(scan, inputs, resets)
    expected_results, expected_gradients = run(reference_scan, inputs, resets)
    assert largest_error(results, expected_results) < 1e-12
    assert largest_error(gradients, expected_gradients) < 1e-12


@pytest.mark.parametrize("scan", [IMPLEMENTATIONS[0], *IMPLEMENTATIONS[2:]])
@pytest.mark.parametrize("with_resets", [False, True])
def test_gradients_equal_finite_differences(scan, with_resets):
    inputs = scan_inputs(1, 5, 2, 2, torch.float64)
    resets = torch.tensor([[False, False, True, False, False]]) if with_resets else None
    leaves = [inputs[name].requires_grad_() for name in NAMES]

    def both(*parts: Tensor) -> tuple[Tensor, ...]:
        return tuple(scan(*parts[:5], **dict(zip(NAMES[5:], parts[5:], strict=True)), resets=resets))

    assert torch.autograd.gradcheck(both, leaves)


@every_implementation
def test_the_skip_the_gate_and_the_state_may_be_left_out(scan):
    inputs = {name: part for name, part in scan_inputs(2, 7, 5, 3, torch.float64).items() if name in NAMES[:5]}
    results, gradients = run(scan, inputs, None)
    expected_results, expected_gradients = run(reference_scan, inputs, None)
    assert largest_error(results, expected_results) < 1e-12
    assert largest_error(gradients, expected_gradients) < 1e-12


@every_implementation
@pytest.mark.parametrize("dt", [0.0, 1e-30, 1e4, 1e18])
def test_extreme_step_sizes_give_numbers(scan, dt):
    inputs = scan_inputs(2, 37, 5, 3, torch.float32)
    inputs["dt"] = torch.full_like(inputs["dt"], dt)
    results, gradients = run(scan, inputs, None)
    assert all(part.isfinite().all() for part in results + gradients)
    expected, _ = run(reference_scan, inputs, None)
    assert largest_error(results, expected) < 1e-5


@every_implementation
def test_halves_of_a_wider_projection_are_read_where_they_lie(scan):
    inputs = scan_inputs(3, 7, 5, 2, torch.float64)
    expected, _ = run(reference_scan, inputs, None)
    wide = {name: torch.cat([part, part + 1], dim=-1) for name, part in inputs.items() if name in ("u", "z", "B", "C")}
    halves = {name: part[..., : part.shape[-1] // 2] for name, part in wide.items()}
    turned = {"dt": inputs["dt"].transpose(0, 1).contiguous().transpose(0, 1)}
    strange = inputs | halves | turned
    results = scan(*(strange[name] for name in NAMES[:5]), **{name: strange[name] for name in NAMES[5:]})
    assert largest_error(list(results), expected) < 1e-12
    # One position of many: its stride is no longer that of the rows.
    one = {name: part[:, 3:4] for name, part in strange.items() if name in ("u", "dt", "B", "C", "z")}
    kept = {name: inputs[name] for name in ("A", "D", "initial_state")}
    expected, _ = run(reference_scan, {name: part.clone() for name, part in (one | kept).items()}, None)
    parts = one | kept
    results = scan(*(parts[name] for name in NAMES[:5]), **{name: parts[name] for name in NAMES[5:]})
    assert largest_error(list(results), expected) < 1e-12


@pytest.mark.parametrize("batch", [1, 3])
@needs_compiler
def test_the_kernels_numbers_do_not_depend_on_the_number_of_threads(batch):
    inputs = scan_inputs(batch, 131, 67, 17, torch.float32)
    alone = run(cpp_scan, inputs, None)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        together = run(cpp_scan, inputs, None)
    finally:
        torch.set_num_threads(before)
    for one, other in zip(alone[0] + alone[1], together[0] + together[1], strict=True):
        assert torch.equal(one, other)


def test_half_precision_is_computed_in_float32_and_the_state_stays_in_it():
    inputs = {name: part.bfloat16() for name, part in scan_inputs(2, 37, 5, 3, torch.float32).items()}
    positional = [inputs.pop(name) for name in NAMES[:5]]
    output, last_state = selective_scan(*positional, **inputs)
    assert output.dtype == torch.bfloat16
    assert last_state.dtype == torch.float32
    exact = reference_scan(*(part.float() for part in positional), **{k: v.float() for k, v in inputs.items()})
    assert torch.equal(output, exact.output.bfloat16()) or largest_error([output.float()], [exact.output]) < 1e-2
    assert largest_error([last_state], [exact.last_state]) < 1e-5


@pytest.mark.parametrize("backend", ["torch", pytest.param("cpp", marks=needs_compiler)])
def test_mixed_precision_around_the_scan_does_not_reach_into_it(backend):
    inputs = scan_inputs(2, 37, 5, 3, torch.float32)
    positional = [inputs.pop(name) for name in NAMES[:5]]
    expected = selective_scan(*positional, **inputs, backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16), warnings.catch_warnings():
        warnings.simplefilter("error")
        actual = selective_scan(*positional, **inputs, backend=backend)
    assert torch.equal(actual.output, expected.output)


def test_the_last_state_of_a_part_starts_the_next():
    inputs = scan_inputs(2, 37, 5, 3, torch.float64)
    state, whole = inputs.pop("initial_state"), scan_inputs(2, 37, 5, 3, torch.float64)
    expected = reference_scan(*(whole[name] for name in NAMES[:5]), **{name: whole[name] for name in NAMES[5:]})
    outputs = []
    for begin, end in ((0, 1), (1, 30), (30, 37)):
        part = {name: inputs[name][:, begin:end] for name in ("u", "dt", "B", "C", "z")}
        output, state = selective_scan(
            part["u"], part["dt"], inputs["A"], part["B"], part["C"], D=inputs["D"], z=part["z"], initial_state=state
        )
        outputs.append(output)
    assert largest_error([torch.cat(outputs, 1), state], list(expected)) < 1e-12


@pytest.mark.usefixtures("unchecked_signatures")
def test_an_initial_state_of_another_shape_is_refused():
    inputs = scan_inputs(2, 7, 5, 3, torch.float32)
    with pytest.raises(ValueError, match=r"initial state must have shape \(2, 5, 3\), got \(1, 5, 3\)"):
        selective_scan(*(inputs[name] for name in NAMES[:5]), initial_state=torch.zeros(1, 5, 3))


@needs_compiler
def test_the_kernels_exponential_is_good_to_two_units_in_the_last_place():
    # Without inputs, one position takes a state of 1 to exp(dt A).
    exponent = torch.cat([torch.linspace(-85.9, 88.7, 99_991), torch.linspace(-1e-3, 1e-3, 99_989)])
    beyond = torch.tensor([-86.1, -1e4, -torch.inf, 88.8, torch.inf, torch.nan])
    A = torch.cat([exponent, beyond]).unsqueeze(1)
    channels = len(A)
    nothing = torch.zeros(1, 1, channels)
    one = torch.ones(1, 1, 1)
    decay = cpp_scan(nothing, nothing + 1, A, one, one, initial_state=torch.ones(1, channels, 1)).last_state.flatten()
    exact = exponent.double().exp()
    # One unit of a number between 1 and 2 is 2^-23.
    assert ((decay[:-6] - exact) / exact).abs().max() < 2 * 2**-23
    assert decay[-6:-1].tolist() == [0.0, 0.0, 0.0, torch.inf, torch.inf]
    assert decay[-1].isnan()
