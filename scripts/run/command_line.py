"""Reads a command's configuration from its flags, and turns an error it foresees into one sentence."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import tyro

Config = TypeVar("Config")


def run_command(config_type: type[Config], main: Callable[[Config], None], *, documentation: str | None) -> None:
    """Parses the command line into a `config_type` and runs `main` on it.

    ValueError and OSError are how this repository refuses bad input: the command then ends with their sentence and
    status 1. `python -X dev` shows where they came from as well.
    """
    name = Path(sys.argv[0]).stem
    config = tyro.cli(config_type, prog=name, description=documentation)
    try:
        main(config)
    except (ValueError, OSError) as error:
        if sys.flags.dev_mode:
            raise
        sys.exit(f"{name}: error: {_sentence(error)}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: stopped")


def _sentence(error: Exception) -> str:
    # str() of an OSError puts its number before the sentence.
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.strerror}: {error.filename}" if error.filename is not None else error.strerror
    return str(error)
