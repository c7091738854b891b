"""The table of the selective scan's backends, and which of them a call takes, with the reason in words."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch

from . import cpp_scan, mamba_ssm_scan, triton_scan
from .scan_result import ScanResult
from .torch_scan import torch_scan

Backend = Literal["auto", "torch", "cpp", "triton", "mamba_ssm"]

IMPLEMENTATIONS: dict[str, Callable[..., ScanResult]] = {
    "torch": torch_scan,
    "cpp": cpp_scan.cpp_scan,
    "triton": triton_scan.triton_scan,
    "mamba_ssm": mamba_ssm_scan.mamba_ssm_scan,
}
# In the order in which `auto` tries them.
_CANDIDATES = {"cpu": ("cpp", "torch"), "cuda": ("mamba_ssm", "triton", "torch")}
_ADVICE = {
    "cpp": "install g++ or clang++, or name a C++ compiler in CXX",
    "triton": "pip install -e '.[triton]', on a machine with a GPU",
    "mamba_ssm": "pip install --no-build-isolation -e '.[mamba]', on a machine with a GPU and its compiler nvcc",
}


class ScanNeeds(NamedTuple):
    """What a call asks for that not every backend can do."""

    dtype: torch.dtype = torch.float32
    resets: bool = False
    initial_state: bool = False


class BackendChoice(NamedTuple):
    """The backend that a call takes, and why, as a sentence for a log."""

    name: str
    reason: str


def choose_backend(backend: Backend, device: torch.device, needs: ScanNeeds | None = None) -> BackendChoice:
    """Returns the backend for a call on `device`.

    `auto` takes the fastest that is there and does what the call needs. A backend asked for by name that is there but
    cannot do it (mamba_ssm with resets) gives way to the next one, and the reason says so.

    Raises:
        ValueError: the name is unknown, or the backend asked for is not there; the message has the reason and the way
            to get it.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}, got {backend!r}")
    refused = []
    if backend != "auto":
        reason = _absence(backend, device)
        if reason is not None:
            raise ValueError(f"the scan's backend {backend!r} is not available: {reason}; {_ADVICE[backend]}")
        reason = _inability(backend, needs or ScanNeeds())
        if reason is None:
            return BackendChoice(backend, f"{backend}: as asked for")
        refused.append(f"{backend} was asked for, but {reason}")
    for name in _CANDIDATES.get(device.type, ("torch",)):
        if name != backend:
            reason = _absence(name, device) or _inability(name, needs or ScanNeeds())
            if reason is None:
                return BackendChoice(name, f"{name}: {_because(name, device, refused)}")
            refused.append(f"{name} is not taken: {reason}")
    raise AssertionError("torch computes everywhere")


def _because(name: str, device: torch.device, refused: list[str]) -> str:
    return "; ".join(refused) if refused else f"the fastest backend on {device.type}"


def _absence(name: str, device: torch.device) -> str | None:
    """Returns why a backend cannot be used on a device, or None."""
    if name == "cpp":
        return f"its kernel is for the CPU, not for {device.type}" if device.type != "cpu" else cpp_scan.absence()
    if name == "triton":
        return triton_scan.absence(device)
    return mamba_ssm_scan.absence(device) if name == "mamba_ssm" else None


def _inability(name: str, needs: ScanNeeds) -> str | None:
    """Returns what a call needs that a backend cannot do, or None."""
    if name != "mamba_ssm":
        return None
    if needs.resets:
        return "upstream's kernel knows no resets"
    if needs.initial_state:
        return "upstream's kernel starts from a state of zeros only"
    return None if needs.dtype == torch.float32 else f"upstream's kernel computes in float32, not in {needs.dtype}"
