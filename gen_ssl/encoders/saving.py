"""Encoders on disk: a folder of `config.json` and `model.safetensors` in the Hugging Face layout, never a pickle.

The Hub's mix-in brings `push_to_hub`. Its own `save_pretrained` and `from_pretrained` are replaced, because they forget
the architecture's name, write in place, and load with `strict=False`: missing weights would silently stay random.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from torch import nn

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"

EncoderT = TypeVar("EncoderT", bound=nn.Module)


def save_encoder(encoder: PyTorchModelHubMixin, save_directory: str | Path, **options: Any) -> str | None:
    """Writes an encoder as a folder of `config.json` (its class and arguments), `model.safetensors` and a model card.

    Each file is written beside and renamed into place: after a full disk or a kill, what was saved there before by an
    encoder of the same architecture and arguments can still be read.

    Args:
        encoder: what to save.
        save_directory: the folder, made if it is not there. A model card that stands in it is kept.
        options: `repo_id`, `push_to_hub` and others, as in Hugging Face's `save_pretrained`.

    Returns:
        The address of the commit on the Hub if it was pushed there, otherwise None.
    """
    directory = Path(save_directory)
    directory.mkdir(parents=True, exist_ok=True)
    if options.get("push_to_hub"):
        options.setdefault("repo_id", directory.name)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".saving-") as beside:
        commit_address = PyTorchModelHubMixin.save_pretrained(encoder, beside, **options)
        _add_architecture(Path(beside) / CONFIG_FILE, type(encoder).__name__)
        # safetensors makes its file readable by its owner only; whoever may read the config may read the weights.
        shutil.copymode(Path(beside) / CONFIG_FILE, Path(beside) / WEIGHTS_FILE)
        for written in sorted(Path(beside).iterdir()):
            if written.name == "README.md" and (directory / written.name).exists():
                continue
            _flush_to_disk(written)
            os.replace(written, directory / written.name)
    return commit_address


def read_encoder(
    encoder_class: type[EncoderT], path: str | Path, *, map_location: str = "cpu", **download_options: Any
) -> EncoderT:
    """Returns the encoder saved under a path, in evaluation mode.

    Args:
        encoder_class: the class that was saved.
        path: a folder, or the name of a repository on the Hugging Face Hub ("owner/name").
        map_location: the device that the weights are read to.
        download_options: `revision`, `token` and others, as in `huggingface_hub.snapshot_download`.

    Raises:
        FileNotFoundError: there is no such folder, nor such a repository.
        ValueError: what is there is not an encoder of this class, or is damaged.
    """
    directory = locate(path, **download_options)
    architecture, arguments = read_config(directory)
    if architecture != encoder_class.__name__:
        raise ValueError(f"{directory} holds a {architecture}, not a {encoder_class.__name__}")
    try:
        encoder = encoder_class(**arguments)
    except TypeError as error:
        raise ValueError(f"{directory / CONFIG_FILE} does not describe a {architecture}: {error}") from error
    try:
        safetensors.torch.load_model(encoder, directory / WEIGHTS_FILE, strict=True, device=map_location)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{directory / WEIGHTS_FILE} is not a readable safetensors file: {error}") from error
    except RuntimeError as error:  # what load_state_dict raises; its message has a line per weight
        raise ValueError(
            f"{directory / WEIGHTS_FILE} does not fit {CONFIG_FILE}: {' '.join(str(error).split())}"
        ) from error
    return encoder.to(map_location).eval()


def locate(path: str | Path, **download_options: Any) -> Path:
    """Returns the folder of a saved encoder, downloaded first if `path` names a repository on the Hub.

    Raises:
        FileNotFoundError: there is no such folder, nor such a repository.
        ValueError: `path` is a file.
    """
    if Path(path).is_dir():
        return Path(path)
    if Path(path).exists():
        raise ValueError(f"{path} is a file; a saved encoder is a folder of {CONFIG_FILE} and {WEIGHTS_FILE}")
    try:
        # Weights of another format, pickles among them, are not even downloaded.
        downloaded = snapshot_download(str(path), allow_patterns=[CONFIG_FILE, WEIGHTS_FILE], **download_options)
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"there is no folder {path}, and the Hugging Face Hub gave no encoder of that name"
        ) from error
    return Path(downloaded)


def read_config(directory: Path) -> tuple[str, dict[str, Any]]:
    """Returns the architecture's name and its arguments.

    Raises:
        ValueError: the folder holds no `config.json`, or one that names no architecture.
    """
    path = directory / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        architecture = config.pop("architecture")
    except FileNotFoundError as error:
        raise ValueError(f"{directory} is not a saved encoder: it has no {CONFIG_FILE}") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is not the config of an encoder: it names no architecture") from error
    # JSON has no tuples: those of the constructor come back as lists.
    return architecture, {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}


def _add_architecture(config_file: Path, architecture: str) -> None:
    """Puts the name of the architecture into a config that holds its arguments only."""
    arguments = json.loads(config_file.read_text(encoding="utf-8"))
    config_file.write_text(json.dumps({**arguments, "architecture": architecture}, indent=2) + "\n", encoding="utf-8")


def _flush_to_disk(path: Path) -> None:
    """Waits until a file's bytes are on the disk: renamed before that, a power cut could leave it empty."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
