"""The table of encoders, and loading by the name that a saved encoder carries."""

from pathlib import Path
from typing import Any

from .dqn2013_cnn import DQN2013CNN
from .encoder import Encoder
from .nature_cnn import NatureCNN
from .saving import locate, read_config

ENCODERS: dict[str, type[NatureCNN] | type[DQN2013CNN]] = {
    "NatureCNN": NatureCNN,
    "DQN2013CNN": DQN2013CNN,
}
"""Every architecture by the name that commands and `config.json` use."""


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
