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


def load_encoder(path: str | Path, **options: Any) -> Encoder:
    """Returns the encoder saved under a path, whichever its architecture.

    Args:
        path: a folder, or the name of a repository on the Hugging Face Hub ("owner/name").
        options: `map_location`, `revision` and others, as in an encoder's `from_pretrained`.

    Raises:
        FileNotFoundError: there is no such folder, nor such a repository.
        ValueError: what is there is not an encoder of ours, or is damaged.
    """
    architecture, _ = read_config(locate(path))
    if architecture not in ENCODERS:
        raise ValueError(f"{path} holds a {architecture!r}, which is not one of our encoders: {', '.join(ENCODERS)}")
    return ENCODERS[architecture].from_pretrained(path, **options)
