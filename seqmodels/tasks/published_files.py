"""Finds the files that a data set was published in, or the same data through the `datasets` package."""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple


class Published(NamedTuple):
    """A published data set: which task reads it, where its files belong, and its name on the Hugging Face Hub."""

    task: str
    place: str  # a path inside the data folder
    contents: str  # what lies there, and where it comes from
    hub_name: str | None = None


def locate(published: Published, data: Path | None) -> Path | None:
    """Returns where in the data folder the files are; None if no folder is given and the Hub is to be asked.

    Raises FileNotFoundError, with the place and the format that were expected, if there is no way to get them.
    """
    expected = f"{published.place}: {published.contents}"
    if data is not None:
        if not (data / published.place).exists():
            raise FileNotFoundError(
                f"task {published.task} found nothing at {data / published.place}; expected in the data folder is "
                f"{expected}"
            )
        return data / published.place
    if published.hub_name is None:
        raise FileNotFoundError(f"task {published.task} needs a data folder (--data DIR); expected in it is {expected}")
    if find_spec("datasets") is None:
        raise FileNotFoundError(
            f"task {published.task} needs the package `datasets`, which is not installed, or a data folder "
            f"(--data DIR); expected in it is {expected}"
        )
    return None


def hub_examples(published: Published, split: str) -> Iterable[dict[str, Any]]:
    """Returns the rows of a split as the Hub has them, downloaded or from the cache of `datasets`."""
    # Imported only here: an optional dependency, and slow to import.
    from datasets import load_dataset

    loaded: Any = load_dataset(published.hub_name, split=split)
    examples: Iterable[dict[str, Any]] = loaded
    return examples
