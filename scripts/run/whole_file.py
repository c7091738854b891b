"""Writes files as a whole or not at all: a reader, or a kill in the middle, never meets half of one."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # takes a while: most who write files draw nothing

WRITING_SUFFIX = ".writing"  # of a file beside its place, until it is whole


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a place beside `path` to write to, and renames what was written there into `path` at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}{WRITING_SUFFIX}")
    yield beside
    beside.replace(path)


def write_text(path: Path, text: str) -> Path:
    """Writes a text as a whole or not at all, into a new folder where there is none, and returns its path."""
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value: Any) -> Path:
    """Writes a JSON file as a whole or not at all, into a new folder where there is none, and returns its path."""
    return write_text(path, json.dumps(value, indent=1) + "\n")


def write_figure(path: Path, figure: "Figure", *, dpi: int = 110) -> Path:
    """Writes a picture, in the format of its suffix, as a whole or not at all, and returns its path."""
    with whole_file(path) as beside:
        figure.savefig(beside, dpi=dpi, format=path.suffix[1:])
    return path
