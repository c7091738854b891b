"""Finds the files that a data set was published in, or the same data through the `datasets` package."""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple


class Published(NamedTuple):
    """A published data set: which task reads it, where its files belong, and its name on the Hugging Face Hub."""

    task: str
    place: str  # a path inside the data folder
    files: tuple[str, ...]  # patterns, of each of which there must be a file in that place
    contents: str  # what lies there in words, and where it comes from
    hub_name: str | None = None

    @property
    def expected(self) -> str:
        """Where in the data folder what is expected."""
        return f"expected in the data folder is {self.place}: {self.contents}"


def locate(published: Published, data: Path | None) -> Path | None:
    """Returns where in the data folder the files are; None if no folder is given and the Hub is to be asked.

    Raises FileNotFoundError, with the place and the format that were expected, if there is no way to get them.
    """
    if data is not None:
        folder = data / published.place
        if not folder.exists():
            raise FileNotFoundError(f"task {published.task} found nothing at {folder}; {published.expected}")
        for pattern in published.files:
            if not any(folder.glob(pattern)):
                raise FileNotFoundError(f"task {published.task} found no {pattern} in {folder}; {published.expected}")
        return folder
    if published.hub_name is None:
        raise FileNotFoundError(f"task {published.task} needs a data folder (--data DIR); {published.expected}")
    if find_spec("datasets") is None:
        raise FileNotFoundError(
            f"task {published.task} needs the package `datasets`, which is not installed, or a data folder "
            f"(--data DIR); {published.expected}"
        )
    return None


def hub_examples(published: Published, split: str) -> Iterable[dict[str, Any]]:
    """Returns the rows of a split as the Hub has them, downloaded or from the cache of `datasets`.

    Raises FileNotFoundError, as `locate` does, where the Hub cannot be reached and the cache has nothing.
    """
    # Imported only here: an optional dependency, and slow to import.
    from datasets import load_dataset

    try:
        loaded: Any = load_dataset(published.hub_name, split=split)
    except OSError as error:  # of which every failed connection is one
        raise FileNotFoundError(
            f"task {published.task} got nothing through `datasets` ({error}), and needs a data folder (--data DIR); "
            f"{published.expected}"
        ) from error
    examples: Iterable[dict[str, Any]] = loaded
    return examples
