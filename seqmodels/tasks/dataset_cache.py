"""Keeps generated examples in a folder, so that the next run need not generate them again."""

import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

Arrays = dict[str, Shaped[np.ndarray, "..."]]


def cached_arrays(folder: Path | None, name: str, settings: object, build: Callable[[], Arrays]) -> Arrays:
    """Returns what `build` makes, from `folder` where it was kept under this name for these settings.

    Arrays that were kept are memory-mapped. They are written beside and renamed into place, so that what lies there is
    whole, also when several processes build at once. Without a folder nothing is kept. Settings are told apart by
    their repr. Raises ValueError if the files cannot be read.
    """
    if folder is None:
        return build()
    place = folder / name_for(name, settings)
    if not place.exists():
        _write(place, build())
    try:
        return {path.stem: _load(path) for path in sorted(place.glob("*.npy"))}
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{place} is damaged ({error}); remove it, and it will be generated again") from error


def name_for(name: str, settings: object) -> str:
    """Returns the name of the folder in which arrays with these settings are kept."""
    return f"{name}-{sha256(repr(settings).encode()).hexdigest()[:12]}"


def _load(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _write(place: Path, arrays: Arrays) -> None:
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    beside.mkdir(parents=True, exist_ok=True)
    try:
        for name, array in arrays.items():
            np.save(beside / f"{name}.npy", array, allow_pickle=False)
        beside.rename(place)
    except OSError:
        if not place.exists():
            raise
        # Another process was faster; what it wrote is the same.
    finally:
        shutil.rmtree(beside, ignore_errors=True)
