"""The folder of one run: what was asked for, with which versions, and everything the run wrote."""

import contextlib
import importlib.metadata
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from .config_file import config_from_json, config_to_json, differing_fields
from .whole_file import WRITING_SUFFIX, write_text

Config = TypeVar("Config")

CONFIG_FILE_NAME = "config.json"
COMMAND_FILE_NAME = "command.txt"
CHECKPOINT_FILE_NAME = "checkpoint.pt"
VERSIONS_FILE_NAME = "versions.json"

_PACKAGES = ("torch", "numpy", "gymnasium", "ale-py", "stable-baselines3", "lightning-fabric", "scipy", "tensorboard")


@dataclass(frozen=True, kw_only=True)
class RunDirectory:
    """`runs/<name>/`: `config.json`, `command.txt`, `versions.json`, TensorBoard events, `checkpoint.pt`, `videos/`."""

    path: Path

    @classmethod
    def create(
        cls, path: Path | None, *, config: object, label: str, command: str | None = None, can_resume: bool = True
    ) -> "RunDirectory":
        """Makes a run directory at `path` (None: `runs/<label>-<date>-<time>`) and writes what was asked for into it.

        What a process killed in here left counts as nothing. Raises FileExistsError when there is a run already, with
        the way to continue it unless the command has none.
        """
        path = path if path is not None else Path("runs") / f"{label}-{datetime.now():%Y%m%d-%H%M%S}"
        cls.check_free(path, can_resume=can_resume)
        path.mkdir(parents=True, exist_ok=True)
        for leftover in path.iterdir():
            leftover.unlink()  # by `check_free`, of a run that was not yet begun
        write_text(path / COMMAND_FILE_NAME, (command or command_line()) + "\n")
        write_text(path / VERSIONS_FILE_NAME, json.dumps(versions(), indent=2) + "\n")
        # The configuration is written last: a folder that has one is a complete run directory.
        write_text(path / CONFIG_FILE_NAME, json.dumps(config_to_json(config), indent=2) + "\n")
        return cls(path=path)

    @staticmethod
    def check_free(path: Path, *, can_resume: bool = True) -> None:
        """Raises FileExistsError when there is a run at `path` already, or something else than one not yet begun."""
        if path.exists() and not (path.is_dir() and all(map(_comes_before_the_config, path.iterdir()))):
            how = (
                f"continue it with --resume {shlex.quote(str(path))}, or"
                if can_resume and (path / CONFIG_FILE_NAME).exists()
                else "please"
            )
            raise FileExistsError(f"the run directory {path} exists already: {how} name another one")

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Returns the run directory at `path`. Raises FileNotFoundError when there is none."""
        if not (path / CONFIG_FILE_NAME).is_file():
            raise FileNotFoundError(f"{path} is not a run directory: it has no {CONFIG_FILE_NAME}")
        return cls(path=path)

    @property
    def checkpoint(self) -> Path:
        """The place of the run's checkpoint."""
        return self.path / CHECKPOINT_FILE_NAME

    @property
    def videos(self) -> Path:
        """The folder of the run's videos."""
        return self.path / "videos"

    def config_values(self) -> dict[str, Any]:
        """Returns the configuration the run was started with, as JSON values."""
        try:
            values = json.loads((self.path / CONFIG_FILE_NAME).read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.path / CONFIG_FILE_NAME} is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"{self.path / CONFIG_FILE_NAME} must hold an object, got {type(values).__name__}")
        return values

    def read_config(self, kind: type[Config]) -> Config:
        """Returns the configuration the run was started with, as a `kind`."""
        try:
            config: Config = config_from_json(kind, self.config_values())
        except ValueError as error:
            raise ValueError(f"{self.path / CONFIG_FILE_NAME} does not fit: {error}") from error
        return config

    def check_config(self, config: object, *, may_differ: Collection[str] = ()) -> None:
        """Raises ValueError naming the fields in which `config` is another than the run's, `may_differ` left out."""
        # Read and written again: a field that is newer than the run has its default there.
        saved, given = config_to_json(self.read_config(type(config))), config_to_json(config)
        fields = [field for field in differing_fields(saved, given) if field not in may_differ]
        if fields:
            differences = ", ".join(
                f"{field} ({_at(saved, field)!r} then, {_at(given, field)!r} now)" for field in fields
            )
            raise ValueError(f"{self.path} cannot be resumed with another configuration: {differences}")

    def note_command(self, command: str | None = None) -> None:
        """Adds the command that resumes the run to the list of its commands."""
        with (self.path / COMMAND_FILE_NAME).open("a") as file:
            file.write((command or command_line()) + "\n")


def command_line() -> str:
    """Returns the running command as one would type it again."""
    specification = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["python", "-m", specification.name] if specification is not None else ["python", sys.argv[0]]
    return shlex.join([*program, *sys.argv[1:]])


@cache
def versions() -> dict[str, str | list[str] | None]:
    """Returns what decides about a run beside its configuration: versions of Python, packages and this repository.

    Asked once in a process: the files may change under one that runs for long, not the code that it has imported.
    """
    found: dict[str, str | list[str] | None] = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    found["commit"] = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no")
    found["changed_files"] = None if changes is None else [line.split(maxsplit=1)[1] for line in changes.splitlines()]
    return found


def _git(*arguments: str) -> str | None:
    """Returns what git says about this repository, or None without git or outside a clone."""
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _at(values: Any, field: str) -> Any:
    for name in field.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _comes_before_the_config(path: Path) -> bool:
    """Returns whether a file is of a run that was killed while its directory was made."""
    names = (COMMAND_FILE_NAME, VERSIONS_FILE_NAME, CONFIG_FILE_NAME)
    unfinished = path.name.startswith(names) and path.name.endswith(WRITING_SUFFIX)
    return path.is_file() and (unfinished or path.name in (COMMAND_FILE_NAME, VERSIONS_FILE_NAME))
