"""Reads a command's configuration from its flags, and turns an error it foresees into one sentence."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import tyro

Config = TypeVar("Config")


def run_command(
    config_type: type[Config],
    main: Callable[[Config], object],
    *,
    documentation: str | None,
    starting_point: Callable[[list[str]], Config] | None = None,
    prefixes: bool = True,
) -> None:
    """Parses the command line into a `config_type` and runs `main` on it.

    `starting_point` returns, from the flags, the configuration that they override (default: that of the type itself).
    Without `prefixes` a field of a part is `--field`, not `--part.field`.

    ValueError and OSError are how this repository refuses bad input: the command then ends with their sentence and
    status 1. `python -X dev` shows where they came from as well.
    """
    name = Path(sys.argv[0]).stem
    try:
        with _quiet_end_of_a_pipe():
            start = tyro.MISSING_NONPROP if starting_point is None else starting_point(sys.argv[1:])
            markers = () if prefixes else (tyro.conf.OmitArgPrefixes,)
            config = tyro.cli(config_type, prog=name, description=documentation, default=start, config=markers)
        main(config)
    except (ValueError, OSError) as error:
        if sys.flags.dev_mode:
            raise
        sys.exit(f"{name}: error: {_sentence(error)}")
    except KeyboardInterrupt:
        print(f"{name}: stopped", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)  # as a shell expects of an interrupted program


@contextmanager
def _quiet_end_of_a_pipe() -> Iterator[None]:
    """Lets `command --help | head` end without a traceback; inside `main` a closed pipe is an error as any other."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    yield  # what exits here, as --help does, leaves it so until the end
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python starts


def _sentence(error: Exception) -> str:
    # str() of an OSError puts its number before the sentence.
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.strerror}: {error.filename}" if error.filename is not None else error.strerror
    return str(error)
