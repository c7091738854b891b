"""Checks the generated data of ListOps and Pathfinder against what was published about it.

    python -m scripts.verify_tasks                       a few minutes on one core
    python -m scripts.verify_tasks --sizes 16 32 64 128  the larger images too: some minutes more

ListOps: trees of LRA's parameters are grown by our generator and, for comparison, node by node as LRA's own recursion
does; every label is worked out again from the tokens. Expect a mean length of 1,041 +- 10, 8.3 +- 0.3 percent kept, and
shares of the ten answers that differ from the recursion's by chance only. Pathfinder: every label is compared with a
search for a path along the lines that were drawn. Expect half of the labels to be 1 and no label to be wrong.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.run.benchmark_records import BenchmarkRecord, records_table, write_records
from scripts.run.command_line import run_command
from scripts.run.whole_file import write_figure
from seqmodels.tasks.listops_trees import CLOSE, DIGIT, OPERATOR, ListOpsShape, evaluate, grow_trees
from seqmodels.tasks.path_search import ends_are_joined
from seqmodels.tasks.pathfinder_images import PathfinderImages, draw_pathfinder
from seqmodels.tasks.pathfinder_settings import PATHFINDER_16, PATHFINDER_32, PATHFINDER_64, PATHFINDER_128

SETTINGS = {16: PATHFINDER_16, 32: PATHFINDER_32, 64: PATHFINDER_64, 128: PATHFINDER_128}
TREES_PER_GROUP = 8192
OURS = "cartridge"
RECURSION = "LRA's recursion"
OPERATIONS: tuple[Callable[[list[int]], int], ...] = (
    min,
    max,
    lambda values: int(np.median(values)),
    lambda values: sum(values) % 10,
)


@dataclass(frozen=True, kw_only=True)
class VerifyTasks:
    """How much to generate."""

    trees: int = 50_000  # kept ones, by our generator
    recursion_trees: int = 5_000  # kept ones, node by node
    checked_trees: int = 2_000  # of ours, whose labels are worked out again
    images: int = 2_000  # of each size
    sizes: tuple[int, ...] = (16, 32)  # of Pathfinder's images
    seed: int = 0
    output: Path | None = None  # JSON file for the figures
    pictures: Path | None = None  # PNG file for a few images of each size

    def __post_init__(self) -> None:
        for name in ("trees", "recursion_trees", "images"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for size in self.sizes:
            if size not in SETTINGS:
                raise ValueError(f"sizes must be among {', '.join(map(str, SETTINGS))}, got {size}")
        if self.checked_trees > self.trees:
            raise ValueError(f"checked_trees must be at most trees, got {self.checked_trees} and {self.trees}")


def main(config: VerifyTasks) -> None:
    """Generates, checks, prints and writes."""
    records = verify_listops(config)
    drawn: dict[int, PathfinderImages] = {}
    for size in config.sizes:
        drawn[size], of_size = verify_pathfinder(size, config)
        records += of_size
    print(records_table(records))
    if config.output is not None:
        write_records(config.output, records)
        print(f"wrote {config.output}")
    if config.pictures is not None:
        draw_pictures(config.pictures, drawn)
        print(f"wrote {config.pictures}")


@dataclass
class KeptTrees:
    """What is counted of trees that were long enough."""

    implementation: str
    grown: int = 0
    kept: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        self.answers: NDArray[np.int64] = np.zeros(10, dtype=np.int64)

    def records(self) -> list[BenchmarkRecord]:
        """Returns the figures."""

        def record(setting: str, value: float, unit: str) -> BenchmarkRecord:
            return BenchmarkRecord(
                benchmark="ListOps", implementation=self.implementation, setting=setting, value=value, unit=unit
            )

        shares = [
            record(f"answer {answer}", 100 * number / self.kept, "% of trees")
            for answer, number in enumerate(self.answers)
        ]
        return [
            record("mean length", self.tokens / self.kept, "tokens"),
            record("kept", 100 * self.kept / self.grown, "% of trees grown"),
            *shares,
        ]


def verify_listops(config: VerifyTasks) -> list[BenchmarkRecord]:
    """Returns the figures of trees of LRA's parameters, by our generator and by the recursion."""
    shape = ListOpsShape()
    ours, recursion = KeptTrees(OURS), KeptTrees(RECURSION)
    generator = np.random.default_rng(config.seed)
    wrong = checked = 0
    seconds = 0.0
    while ours.kept < config.trees:
        start = time.process_time()
        trees = grow_trees(shape, TREES_PER_GROUP, generator)
        seconds += time.process_time() - start
        ours.grown += TREES_PER_GROUP
        ours.kept += len(trees.labels)
        ours.tokens += len(trees.rows.tokens)
        ours.answers += np.bincount(trees.labels, minlength=10)
        for i in range(min(len(trees.labels), config.checked_trees - checked)):
            row = trees.rows.tokens[trees.rows.starts[i] : trees.rows.starts[i + 1]]
            wrong += evaluate(row) != trees.labels[i]
            checked += 1
    while recursion.kept < config.recursion_trees:
        tokens, value = grow_by_recursion(generator, 1, shape)
        recursion.grown += 1
        if shape.min_length < len(tokens) < shape.max_length:
            recursion.kept += 1
            recursion.tokens += len(tokens)
            recursion.answers[value] += 1
    return [
        *ours.records(),
        *recursion.records(),
        BenchmarkRecord(
            benchmark="ListOps",
            implementation=OURS,
            setting="speed, one core",
            value=ours.kept / seconds,
            unit="kept trees/s",
        ),
        BenchmarkRecord(
            benchmark="ListOps",
            implementation=OURS,
            setting=f"wrong labels of {checked:,}",
            value=float(wrong),
            unit="trees",
        ),
        BenchmarkRecord(
            benchmark="ListOps",
            implementation=OURS,
            setting="largest difference of an answer's share from the recursion's",
            value=largest_difference(ours, recursion),
            unit="standard errors",
        ),
    ]


def grow_by_recursion(generator: np.random.Generator, depth: int, shape: ListOpsShape) -> tuple[list[int], int]:
    """Returns tokens and value of a tree, drawn node by node in the order of LRA's generator."""
    if depth == shape.max_depth or generator.random() > 0.25:
        value = int(generator.random() * 10)
        return [DIGIT + value], value
    num_args = 2 + int(generator.random() * (shape.max_args - 1))
    parts = [grow_by_recursion(generator, depth + 1, shape) for _ in range(num_args)]
    operator = int(generator.random() * len(OPERATIONS))
    tokens = [OPERATOR + operator, *(token for part, _ in parts for token in part), CLOSE]
    return tokens, OPERATIONS[operator]([value for _, value in parts])


def largest_difference(ours: KeptTrees, recursion: KeptTrees) -> float:
    """Returns by how many standard errors the shares of one answer differ at most."""
    share, other = ours.answers / ours.kept, recursion.answers / recursion.kept
    both = (ours.answers + recursion.answers) / (ours.kept + recursion.kept)
    error = np.sqrt(both * (1 - both) * (1 / ours.kept + 1 / recursion.kept))
    return float(np.abs((share - other) / np.maximum(error, 1e-12)).max())


def verify_pathfinder(size: int, config: VerifyTasks) -> tuple[PathfinderImages, list[BenchmarkRecord]]:
    """Returns images of one size, and the figures of them."""
    generator = np.random.default_rng(config.seed)
    start = time.process_time()
    drawn = draw_pathfinder(SETTINGS[size], config.images, generator)
    seconds = time.process_time() - start
    wrong = 0
    for image, label in enumerate(drawn.labels):
        lines = [*drawn.targets[image], *drawn.distractors[image][drawn.has_distractor[image]]]
        wrong += ends_are_joined(lines, drawn.markers[image]) != bool(label)

    def record(setting: str, value: float, unit: str) -> BenchmarkRecord:
        return BenchmarkRecord(
            benchmark=f"Pathfinder, {size} x {size}", implementation=OURS, setting=setting, value=value, unit=unit
        )

    records = [
        record("label 1", 100 * float(drawn.labels.mean()), "% of images"),
        record(f"labels that a path search contradicts, of {config.images:,}", float(wrong), "images"),
        record("ink", 100 * float(drawn.images.mean()) / 255, "% of white"),
        record("distractors that found room", 100 * float(drawn.has_distractor.mean()), "% of those asked for"),
        record("speed, one core", config.images / seconds, "images/s"),
    ]
    lengths, counts = np.unique(drawn.contour_lengths, return_counts=True)
    records += [
        record(f"contours of {length} paddles", 100 * count / config.images, "% of images")
        for length, count in zip(lengths, counts, strict=True)
    ]
    return drawn, records


def draw_pictures(path: Path, drawn: dict[int, PathfinderImages], *, num_each: int = 4) -> None:
    """Writes a few images of each size, those with label 1 in the left half."""
    from matplotlib.figure import Figure  # here, because it takes a second to import

    figure = Figure(figsize=(2 * num_each, 1.15 * len(drawn)), layout="constrained")
    axes = figure.subplots(len(drawn), 2 * num_each, squeeze=False)
    for row, (size, images) in zip(axes, drawn.items(), strict=True):
        chosen = [*np.flatnonzero(images.labels == 1)[:num_each], *np.flatnonzero(images.labels == 0)[:num_each]]
        for axis in row:
            axis.set_axis_off()
        for axis, image in zip(row, chosen, strict=False):
            axis.imshow(images.images[image], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axis.set_title(f"{size} px: {images.labels[image]}", fontsize=7)
    write_figure(path, figure, dpi=150)


if __name__ == "__main__":
    run_command(VerifyTasks, main, documentation=__doc__)
