"""What the benchmark of sequence models measures: one layer of ours or of a peer, forward and backward, or stepping."""

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.mixers import MIXERS, make_mixer
from seqmodels.scans import Backend
from seqmodels.sequence_model import outputs_of

from .sequence_costs import Workload

OURS = "cartridge"
PREFILL_CHUNK = 1_024  # positions taken at once on the way to the context at which steps are measured


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer, ours or a peer's; a callable that builds what is measured of it on a device."""

    implementation: str  # ours or the peer's package
    model: str
    d_model: int
    batch_size: int
    d_state: int | None = None  # None, and auto: the mixer's own
    backend: Backend = "auto"  # of a selective scan
    max_length: int | None = None  # the longest row, of a mixer that has to know it; None: the mixer's own

    def __call__(self, device: str) -> Workload:
        """Returns forward and backward of a batch of a length."""
        layer: Any = self.build().to(device)

        def workload(length: int) -> Callable[[], object]:
            x = torch.randn(self.batch_size, length, self.d_model, device=device, requires_grad=True)

            def run() -> None:
                outputs = outputs_of(layer, x) if self.implementation == OURS else layer(x)
                outputs = outputs[0] if isinstance(outputs, tuple) else outputs
                outputs.square().mean().backward()
                layer.zero_grad()

            return run

        return workload

    def build(self) -> nn.Module:
        """Returns the layer with new weights."""
        if self.implementation != OURS:
            return PEERS[self.implementation, self.model](self)
        known = inspect.signature(MIXERS[self.model]).parameters
        asked: dict[str, Any] = {"d_state": self.d_state, "backend": self.backend, "max_length": self.max_length}
        options = {name: value for name, value in asked.items() if name in known and value is not None}
        mixer: Any = make_mixer(self.model, self.d_model, **options)
        assert isinstance(mixer, nn.Module)
        return mixer


@dataclass(frozen=True, kw_only=True)
class Stepping:
    """Single steps of one of our layers after a context; a callable that builds them on a device."""

    layer: Layer
    steps: int = 64  # in one run

    def __call__(self, device: str) -> Workload:
        """Returns, for a context, the steps that follow it; contexts must come in rising order."""
        mixer: Any = self.layer.build().to(device).eval()
        size = self.layer.batch_size, self.layer.d_model
        position, state = 0, mixer.initial_state(size[0])

        @torch.no_grad()
        def workload(context: int) -> Callable[[], object]:
            nonlocal position, state
            if context < position:
                position, state = 0, mixer.initial_state(size[0])
            while position < context:
                length = min(PREFILL_CHUNK, context - position)
                _, state = mixer(torch.randn(size[0], length, size[1], device=device), state=state)
                position += length
            x, start = torch.randn(size, device=device), state

            @torch.no_grad()
            def run() -> None:
                carried = start
                for _ in range(self.steps):
                    _, carried = mixer.step(x, carried)

            return run

        return workload


class CausalAttention(nn.Module):
    """PyTorch's own attention layer with a causal mask, without positions."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(d_model, num_heads=4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (b, l, d) for (b, l, d)."""
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        out: Tensor = self.attention(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)[0]
        return out


def _mambapy(layer: Layer) -> nn.Module:
    from mambapy.mamba import MambaBlock, MambaConfig

    block: nn.Module = MambaBlock(MambaConfig(d_model=layer.d_model, n_layers=1, d_state=layer.d_state or 16))
    return block


def _transformers_mamba(layer: Layer) -> nn.Module:
    from transformers.models.mamba.modeling_mamba import MambaConfig, MambaMixer

    config = MambaConfig(hidden_size=layer.d_model, state_size=layer.d_state or 16)
    mixer: nn.Module = MambaMixer(config, layer_idx=0)
    return mixer


def _transformers_mamba2(layer: Layer) -> nn.Module:
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Config, Mamba2Mixer

    head_dim = min(64, 2 * layer.d_model)
    config = Mamba2Config(
        hidden_size=layer.d_model,
        state_size=layer.d_state or 128,
        head_dim=head_dim,
        num_heads=2 * layer.d_model // head_dim,
        n_groups=1,
    )
    mixer: nn.Module = Mamba2Mixer(config, layer_idx=0)
    return mixer


def _mamba_ssm(layer: Layer) -> nn.Module:
    from mamba_ssm.modules.mamba_simple import Mamba

    block: nn.Module = Mamba(layer.d_model, d_state=layer.d_state or 16)
    return block


# By package and by which of our mixers it does the same as.
PEERS: dict[tuple[str, str], Callable[[Layer], nn.Module]] = {
    ("mambapy", "mamba"): _mambapy,
    ("transformers", "mamba"): _transformers_mamba,
    ("transformers", "mamba2"): _transformers_mamba2,
    ("mamba_ssm", "mamba"): _mamba_ssm,
    ("torch", "attention-nope"): lambda layer: CausalAttention(layer.d_model),
    ("torch", "gru"): lambda layer: nn.GRU(layer.d_model, layer.d_model, batch_first=True),
}


def installed_peers(model: str, device: str) -> list[str]:
    """Returns the packages on this machine that have the same layer."""
    return [
        package
        for package, theirs in PEERS
        if theirs == model
        and (package != "mamba_ssm" or device == "cuda")  # its kernels run nowhere else
        and not why_not_there(package)
    ]


@cache
def why_not_there(package: str) -> str:
    """Returns why a peer's package cannot be measured, an empty text where it can."""
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed: pip install -e '.[bench]'"
    try:
        importlib.import_module(package)
    except (ImportError, OSError) as error:  # compiled for another PyTorch, often
        return f"{package} cannot be imported: {error}"
    return ""
