"""Our Triton kernels: on the CPU through Triton's interpreter, in a process of its own, and on a GPU."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seqmodels.scans import choose_backend, reference_scan, selective_scan

ROOT = Path(__file__).parents[3]
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed: pip install -e '.[triton]'"
)

# 19 positions in blocks of 8: two whole ones and a part; 3 states padded to 4.
INTERPRETED = """
import torch
from seqmodels.scans import choose_backend, reference_scan
from seqmodels.scans.triton_scan import triton_scan

print(choose_backend("triton", torch.device("cpu")).reason)
generator = torch.Generator().manual_seed(0)
b, l, d, n = 2, 19, 3, 3
draw = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.{dtype})
inputs = (draw(b, l, d), torch.nn.functional.softplus(draw(b, l, d)), -draw(d, n).exp(), draw(b, l, n), draw(b, l, n))
options = {{"D": draw(d), "z": draw(b, l, d), "initial_state": draw(b, d, n)}}
weights = draw(b, l, d), draw(b, d, n)
resets = torch.rand(b, l, generator=generator) < 0.2 if {resets} else None
results = []
for scan in (triton_scan, reference_scan):
    leaves = [part.detach().requires_grad_() for part in (*inputs, *options.values())]
    kept = dict(zip(options, leaves[5:], strict=True))
    more = {{"block": 8}} if scan is triton_scan else {{}}
    output, state = scan(*leaves[:5], **kept, resets=resets, **more)
    loss = (output * weights[0]).sum() + (state * weights[1]).sum()
    results.append([output, state, *torch.autograd.grad(loss, leaves)])
for ours, theirs in zip(*results, strict=True):
    error = float((ours - theirs).abs().max() / theirs.abs().max())
    assert error < {tolerance}, error
print("equal")
"""


@needs_triton
@pytest.mark.parametrize(("dtype", "tolerance", "resets"), [("float32", 1e-5, False), ("float64", 1e-12, True)])
def test_the_interpreted_kernels_give_the_loops_outputs_and_gradients(dtype, tolerance, resets):
    code = INTERPRETED.format(dtype=dtype, tolerance=tolerance, resets=resets)
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=900)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "triton: as asked for\nequal\n"


@needs_triton
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="Triton's interpreter is on")
def test_without_the_interpreter_a_cpu_is_refused():
    with pytest.raises(ValueError, match="'triton' is not available: Triton computes on a GPU, not on cpu"):
        choose_backend("triton", torch.device("cpu"))


def gpu_inputs() -> dict[str, Any]:
    generator = torch.Generator("cuda").manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device="cuda")

    batch, length, channels, states = 3, 517, 67, 16
    return {
        "u": draw(batch, length, channels),
        "dt": torch.nn.functional.softplus(draw(batch, length, channels) - 2),
        "A": -draw(channels, states).exp(),
        "B": draw(batch, length, states),
        "C": draw(batch, length, states),
        "D": draw(channels),
        "z": draw(batch, length, channels),
    }


def run(scan: Any, inputs: dict[str, Any], **options: Any) -> list[Tensor]:
    """Returns output, last state, and the gradients of a sum of both with fixed weights."""
    leaves = {name: part.detach().clone().requires_grad_() for name, part in inputs.items()}
    u, dt, A, B, C, *_ = leaves.values()
    output, state = scan(u, dt, A, B, C, D=leaves["D"], z=leaves["z"], **options)
    weights = [torch.linspace(-1, 1, part.numel(), device="cuda").view_as(part) for part in (output, state)]
    loss = (output * weights[0]).sum() + (state * weights[1]).sum()
    return [output.detach(), state.detach(), *torch.autograd.grad(loss, list(leaves.values()))]


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["torch", "triton", "mamba_ssm"])
@pytest.mark.parametrize("with_state", [False, True])
def test_a_gpus_backends_equal_the_loop_within_upstreams_tolerances(backend, with_state):
    module = {"triton": "triton", "mamba_ssm": "selective_scan_cuda"}.get(backend)
    if module is not None and importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    inputs = gpu_inputs()
    options: dict[str, Any] = {}
    if with_state:
        # mamba_ssm gives way to another backend here.
        options["resets"] = torch.rand(3, 517, device="cuda") < 0.05
        options["initial_state"] = torch.randn(3, 67, 16, device="cuda")
    actual = run(selective_scan, inputs, backend=backend, **options)
    expected = run(
        reference_scan,
        {name: part.double() for name, part in inputs.items()},
        **{name: part.double() if part.is_floating_point() else part for name, part in options.items()},
    )
    for index, (ours, theirs) in enumerate(zip(actual, expected, strict=True)):
        # Those of upstream's own tests, for float32; gradients, which add up many terms, relative to their largest.
        is_gradient = index >= 2
        scale = theirs.abs().max().clamp(min=1.0) if is_gradient else 1.0
        torch.testing.assert_close(ours / scale, (theirs / scale).float(), rtol=6e-4, atol=2e-3)
