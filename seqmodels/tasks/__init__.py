"""Tasks that ask how far a sequence model remembers: generated ones, and those of published files.

`TASKS` is the one table of them: a name, a preset, and what builds it. "quick" and "laptop" are learned in minutes on
two cores, "paper" has the published sizes. `make_task` builds by name and says which names are near one that does not
exist.
"""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from .aan import lra_retrieval
from .adding import Adding
from .byte_classification import ByteClassification
from .cifar10 import lra_image, sequential_cifar
from .copying import Copying
from .imdb import lra_text
from .induction_heads import InductionHeads
from .listops import ListOps
from .listops_trees import LISTOPS_LRA, LISTOPS_SHORT, ListOpsShape
from .mnist import sequential_mnist
from .mqar import MQAR, MQARSize
from .pathfinder import Pathfinder
from .pathfinder_settings import (
    PATHFINDER_16,
    PATHFINDER_32,
    PATHFINDER_64,
    PATHFINDER_128,
    PathfinderSettings,
)
from .pixel_classification import PixelClassification
from .selective_copying import SelectiveCopying
from .sequential_digits import sequential_digits
from .task import NOT_SCORED, Batch, Split, Task, TaskOfAnyLength, TaskSpec


class TaskFolders(NamedTuple):
    """Where a task may find published files, and where it may keep what it has generated."""

    data: Path | None = None
    cache: Path | None = None


TaskFactory = Callable[[TaskFolders], Task]

# Arora et al. 2024 (Based, figure 2; zoology's arxiv24_based_figure2): sizes by the number of their training examples.
_MQAR_PAPER_SIZES = (
    MQARSize(length=64, num_pairs=4, weight=100_000),
    MQARSize(length=128, num_pairs=8, weight=20_000),
    MQARSize(length=256, num_pairs=16, weight=20_000),
    MQARSize(length=256, num_pairs=32, weight=20_000),
    MQARSize(length=256, num_pairs=64, weight=20_000),
)

TASKS: dict[str, dict[str, TaskFactory]] = {
    "selective-copying": {
        "quick": lambda _: SelectiveCopying(num_slots=32, num_tokens=4),
        "laptop": lambda _: SelectiveCopying(num_slots=64, num_tokens=8),
        "laptop-256": lambda _: SelectiveCopying(num_slots=256, num_tokens=16),
        "paper": lambda _: SelectiveCopying(num_slots=4096, num_tokens=16),
    },
    "copying": {
        "laptop": lambda _: Copying(num_tokens=10, lag=100),
        "paper": lambda _: Copying(num_tokens=10, lag=1000),
    },
    "induction-heads": {
        "laptop": lambda _: InductionHeads(length=256, shorter=(16, 64)),
        "paper": lambda _: InductionHeads(length=256),
    },
    "mqar": {
        "laptop": lambda _: MQAR(
            vocab_size=256,
            sizes=(
                MQARSize(length=32, num_pairs=2),  # found first: few pairs to confuse
                MQARSize(length=64, num_pairs=4),
                MQARSize(length=128, num_pairs=8),
            ),
        ),
        "paper": lambda _: MQAR(vocab_size=8192, sizes=_MQAR_PAPER_SIZES, random_fillers=True),
    },
    "adding": {
        "laptop": lambda _: Adding(length=500, shorter=(50, 100, 200)),
        "paper": lambda _: Adding(length=1000),
    },
    "listops": {
        "laptop": lambda folders: ListOps(LISTOPS_SHORT, cache=folders.cache),
        "paper": lambda folders: ListOps(LISTOPS_LRA, cache=folders.cache),
    },
    "pathfinder": {
        "laptop": lambda folders: Pathfinder(
            PATHFINDER_16, num_train=36_000, num_validation=2_000, num_test=2_000, cache=folders.cache
        ),
        "paper": lambda folders: Pathfinder(PATHFINDER_32, cache=folders.cache),
        "paper-64": lambda folders: Pathfinder(PATHFINDER_64, cache=folders.cache),
        "paper-128": lambda folders: Pathfinder(PATHFINDER_128, cache=folders.cache),  # Path-X
    },
    "text": {
        "laptop": lambda folders: lra_text(folders.data, max_length=512),
        "paper": lambda folders: lra_text(folders.data),
    },
    "retrieval": {
        "laptop": lambda folders: lra_retrieval(folders.data, max_length=512),
        "paper": lambda folders: lra_retrieval(folders.data),
    },
    "image": {
        "laptop": lambda folders: lra_image(folders.data),
        "paper": lambda folders: lra_image(folders.data),
    },
    "sequential-mnist": {
        "laptop": lambda folders: sequential_mnist(folders.data),
        "paper": lambda folders: sequential_mnist(folders.data),
    },
    "sequential-cifar": {
        "laptop": lambda folders: sequential_cifar(folders.data),
        "paper": lambda folders: sequential_cifar(folders.data),
    },
    "sequential-digits": {
        "laptop": lambda _: sequential_digits(),
    },
}


def make_task(name: str, *, preset: str = "laptop", data: Path | None = None, cache: Path | None = None) -> Task:
    """Builds the task of that name and preset in TASKS.

    `data` is the folder of published files, for the tasks that read some (docs/sequence_tasks.md says in which form).
    `cache` is a folder in which tasks that take long to generate keep their examples. Raises ValueError, with the
    nearest names, for an unknown one.
    """
    if name not in TASKS:
        near = get_close_matches(name, TASKS, n=3, cutoff=0.4) or sorted(TASKS)
        raise ValueError(f"unknown task {name!r}; nearest names: {', '.join(near)}")
    if preset not in TASKS[name]:
        raise ValueError(f"task {name} has no preset {preset!r}, only {', '.join(TASKS[name])}")
    return TASKS[name][preset](TaskFolders(data=data, cache=cache))


__all__ = [
    "LISTOPS_LRA",
    "LISTOPS_SHORT",
    "MQAR",
    "NOT_SCORED",
    "PATHFINDER_16",
    "PATHFINDER_32",
    "PATHFINDER_64",
    "PATHFINDER_128",
    "TASKS",
    "Adding",
    "Batch",
    "ByteClassification",
    "Copying",
    "InductionHeads",
    "ListOps",
    "ListOpsShape",
    "MQARSize",
    "Pathfinder",
    "PathfinderSettings",
    "PixelClassification",
    "SelectiveCopying",
    "Split",
    "Task",
    "TaskFolders",
    "TaskOfAnyLength",
    "TaskSpec",
    "lra_image",
    "lra_retrieval",
    "lra_text",
    "make_task",
    "sequential_cifar",
    "sequential_digits",
    "sequential_mnist",
]
