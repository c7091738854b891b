"""Saves and loads checkpoints that survive a kill, a full disk and an unknown origin.

A checkpoint is one file: `torch.save` of `{"format", "version", "kind", "state"}` whose state holds tensors, numbers,
strings, `None`, lists, tuples and dictionaries only, so that loading it runs no code. Everything that must be
consistent, the replay included, goes into the one state: a file is either wholly there or not there. It is written
beside its place, flushed to the disk and renamed, so the last good checkpoint stays until the next is complete.
Tensors stream to the disk one by one and come back memory-mapped: saving or loading needs no second copy in memory.
"""

import contextlib
import glob
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

FORMAT = "cartridge-checkpoint"
VERSION = 1

_TEMPORARY_SUFFIX = ".writing"
_LARGE_TENSOR_BYTES = 64 * 2**20
# OrderedDict is what PyTorch's own state_dict returns.
_PLAIN_TYPES = (dict, OrderedDict, list, tuple, str, bytes, int, float, bool, type(None))
_ZIP_MAGIC = b"PK\x03\x04"


def save_checkpoint(path: str | Path, state: Mapping[str, Any], *, kind: str = "run") -> Path:
    """Writes `state` to `path` as a whole or not at all, and returns the path.

    Raises TypeError for a value that cannot be loaded again without running code, and OSError, leaving the last good
    file, when the disk cannot take it.
    """
    path = Path(path)
    _refuse_foreign_values(state, "state")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}{_TEMPORARY_SUFFIX}")
    header = {"format": FORMAT, "version": VERSION, "kind": kind, "state": dict(state)}
    try:
        with temporary.open("wb") as file:
            torch.save(header, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch's zip writer reports a failed write as RuntimeError
        cause = _disk_error(error)
        if cause is None:
            raise
        kept = f"; the last good one is kept at {path}" if path.exists() else ""
        raise OSError(cause.errno, f"the checkpoint {path} could not be saved: {cause.strerror}{kept}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def load_checkpoint(path: str | Path, *, kind: str = "run") -> dict[str, Any]:
    """Returns the state saved at `path`, every tensor on the CPU, without running code from the file.

    Raises FileNotFoundError when there is none, and ValueError when the file is truncated, damaged, foreign, of another
    kind or newer.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    _check_archive(path)
    try:
        header = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is not a Cartridge checkpoint: it holds something else than tensors and plain values"
        ) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{path} is not a Cartridge checkpoint: it has no {FORMAT!r} header")
    if header["version"] > VERSION:
        raise ValueError(
            f"{path} has checkpoint version {header['version']}, this Cartridge reads up to version {VERSION}: "
            "update Cartridge"
        )
    if header["kind"] != kind:
        raise ValueError(f"{path} is a checkpoint of kind {header['kind']!r}, expected {kind!r}")
    state: dict[str, Any] = _detach_small_tensors(header["state"])
    return state


def _remove_unfinished(path: Path) -> None:
    """Deletes what a process killed while it wrote `path` left beside it.

    Only a writer does this, of which a run has one: a reader would break the saving of a run that it looks at.
    """
    for leftover in path.parent.glob(f"{glob.escape(path.name)}.*{_TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)


def _check_archive(path: Path) -> None:
    """Raises ValueError unless `path` is a complete archive with right checksums (memory-mapping checks none)."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            begins_right = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
        if begins_right or path.stat().st_size == 0:
            size = path.stat().st_size
            raise ValueError(
                f"the checkpoint {path} is truncated: it ends after {size} bytes, in the middle of its data"
            )
        raise ValueError(f"{path} is not a Cartridge checkpoint: it is not an archive written by torch.save")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise ValueError(f"the checkpoint {path} is damaged: {error}") from error
    if damaged is not None:
        raise ValueError(f"the checkpoint {path} is damaged: the checksum of its part {damaged!r} is wrong")


def _detach_small_tensors(value: Any) -> Any:
    """Copies all but the large tensors out of the file's memory map.

    An optimiser keeps the tensors it is given: mapped, they would hold a replaced file's space on the disk for the
    rest of the run. Large ones are a replay's frames, which the replay copies into place itself.
    """
    if isinstance(value, torch.Tensor):
        return value if value.nbytes >= _LARGE_TENSOR_BYTES else value.clone()
    if isinstance(value, dict):
        for key, inner in value.items():
            value[key] = _detach_small_tensors(inner)
        return value
    if isinstance(value, list | tuple):
        return type(value)(_detach_small_tensors(inner) for inner in value)
    return value


def _refuse_foreign_values(value: object, where: str) -> None:
    """Raises TypeError for the first value below `where` that `weights_only` loading would refuse."""
    for name, inner in _children(value, where):
        _refuse_foreign_values(inner, name)
    if type(value) not in _PLAIN_TYPES and not isinstance(value, torch.Tensor):
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(f"a checkpoint holds tensors and plain values only, got {name} at {where}")


def _children(value: object, where: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"the key {key!r} of {where}", key
            yield f"{where}[{key!r}]", inner
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield f"{where}[{index}]", inner


def _disk_error(error: BaseException | None) -> OSError | None:
    """Returns the operating system's error in the chain of causes of `error`, if there is one."""
    while error is not None and not (isinstance(error, OSError) and error.strerror is not None):
        error = error.__cause__ or error.__context__
    return error


def _flush_folder(folder: Path) -> None:
    """Makes a rename inside `folder` durable, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
