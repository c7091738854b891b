"""What can be tested of mamba-ssm's kernels without them: the gradient that they leave out, and which releases fit."""

import tomllib
from pathlib import Path

import torch
from torch import Tensor

from seqmodels.scans.mamba_ssm_scan import _StateGradient
from seqmodels.scans.torch_scan import torch_scan

ROOT = Path(__file__).parents[3]


def scan_inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    batch, length, channels, states = 2, 5, 3, 2
    dt = torch.nn.functional.softplus(draw(batch, length, channels))
    u, A = draw(batch, length, channels), -draw(channels, states).exp()
    return [u, dt, A, draw(batch, length, states), draw(batch, length, states)]


def state_as_upstream_gives_it(*inputs: Tensor) -> Tensor:
    last_state = torch_scan(*(part.detach() for part in inputs)).last_state
    state: Tensor = _StateGradient.apply(last_state, *inputs)  # type: ignore[no-untyped-call]
    return state


def test_the_gradient_added_to_the_last_state_equals_finite_differences():
    inputs = [part.requires_grad_() for part in scan_inputs()]
    assert torch.autograd.gradcheck(state_as_upstream_gives_it, inputs)


def test_the_state_is_unchanged_and_its_gradient_does_not_reach_c():
    inputs = [part.requires_grad_() for part in scan_inputs()]
    state = state_as_upstream_gives_it(*inputs)
    assert torch.equal(state, torch_scan(*inputs).last_state)
    *_, d_B, d_C = torch.autograd.grad(state.sum(), inputs)
    assert d_B.abs().max() > 0
    assert d_C.abs().max() == 0


def test_the_releases_that_fit_are_those_that_the_docs_name():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (releases,) = (need.removeprefix("mamba-ssm") for need in extras["mamba"] if need.startswith("mamba-ssm"))
    # 2.3.2 needs further packages, of which newer releases break its import.
    assert releases == ">=2.2.4,<2.3.2"
    assert f"mamba-ssm (`{releases}`)" in (ROOT / "docs/scans.md").read_text()
