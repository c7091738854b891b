"""The table of encoders, building by name, and loading by the name that a saved encoder carries."""

from pathlib import Path
from typing import Any

from .dqn2013_cnn import DQN2013CNN
from .encoder import Encoder
from .impala_cnn import ImpalaCNN
from .nature_cnn import NatureCNN
from .resnet import ResNet
from .saving import locate, read_config
from .vit import VIT_SIZES, ViT

ENCODERS: dict[str, type[NatureCNN] | type[DQN2013CNN] | type[ImpalaCNN] | type[ResNet] | type[ViT]] = {
    "NatureCNN": NatureCNN,
    "DQN2013CNN": DQN2013CNN,
    "ImpalaCNN": ImpalaCNN,
    "ResNet": ResNet,
    "ViT": ViT,
}
"""Every architecture by the name that commands and `config.json` use."""

_VARIANTS: dict[str, dict[str, Any]] = {
    **{f"{name}-LayerNorm": {"layer_norm": True} for name in ("NatureCNN", "DQN2013CNN")},
    **{f"ViT-{name}": size._asdict() for name, size in VIT_SIZES.items()},
}

ENCODER_NAMES = (*ENCODERS, *_VARIANTS)
"""What `make_encoder` builds: every architecture with its defaults, two with normalised layers (PQN's network is
`NatureCNN-LayerNorm`), and the transformer in its published sizes."""


def make_encoder(name: str, *, frame_shape: tuple[int, int, int]) -> Encoder:
    """Returns a new encoder of that name, with its default arguments.

    Raises:
        ValueError: there is no encoder of that name, or it cannot be built for such frames.
    """
    if name not in ENCODER_NAMES:
        raise ValueError(f"an encoder is one of {', '.join(ENCODER_NAMES)}, got {name!r}")
    architecture, _, _ = name.partition("-")
    return ENCODERS[architecture](frame_shape=frame_shape, **_VARIANTS.get(name, {}))


def load_encoder(path: str | Path, *, map_location: str = "cpu", **download_options: Any) -> Encoder:
    """Returns the encoder saved under a path, whichever its architecture.

    Args:
        path: a folder, or the name of a repository on the Hugging Face Hub ("owner/name").
        map_location: the device that the weights are read to.
        download_options: `revision`, `token` and others, as in `huggingface_hub.snapshot_download`.

    Raises:
        FileNotFoundError: there is no such folder, nor such a repository.
        ValueError: what is there is not an encoder of ours, or is damaged.
    """
    directory = locate(path, **download_options)
    architecture, _ = read_config(directory)
    if architecture not in ENCODERS:
        raise ValueError(f"{path} holds a {architecture!r}, which is not one of our encoders: {', '.join(ENCODERS)}")
    return ENCODERS[architecture].from_pretrained(directory, map_location=map_location)
