"""Pictures of a comparison of sequence models, as PNG."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib

matplotlib.use("Agg")  # before pyplot: a server has no screen

from matplotlib import pyplot as plt
from matplotlib.ticker import EngFormatter, MaxNLocator

from .sequence_costs import Cost
from .sequence_result import SequenceResult
from .sequence_tables import by_model
from .whole_file import write_figure


def plot_curves(path: Path, results: Sequence[SequenceResult]) -> None:
    """Draws the validation metric of every run against steps, tokens and minutes."""
    metric = results[0].metric
    axes_of: list[tuple[str, str, float]] = [("step", "steps", 1), ("tokens", "tokens", 1), ("seconds", "minutes", 60)]
    figure, panels = plt.subplots(1, 3, figsize=(13, 4), sharey=True, layout="constrained")
    for number, (model, group) in enumerate(by_model(results).items()):
        for seed, result in enumerate(group):
            for panel, (name, _, unit) in zip(panels, axes_of, strict=True):
                positions = [point[name] / unit for point in result.curve]
                values = [point[metric] for point in result.curve]
                panel.plot(positions, values, color=f"C{number}", marker=".", label=None if seed else model)
    for panel, (_, label, _) in zip(panels, axes_of, strict=True):
        panel.set(xlabel=label, ylabel=f"validation {metric}")
    panels[1].xaxis.set_major_formatter(EngFormatter())
    panels[1].xaxis.set_major_locator(MaxNLocator(5))  # their labels are long
    _finish(figure, list(panels), path, title=results[0].task)


def plot_lengths(path: Path, results: Sequence[SequenceResult], *, trained_length: int) -> None:
    """Draws the test metric against length: the mean over seeds as a line, each seed as a point."""
    metric = results[0].metric
    figure, panel = plt.subplots(figsize=(7, 4), layout="constrained")
    for number, (model, group) in enumerate(by_model(results).items()):
        lengths = sorted({int(length) for result in group for length in result.lengths})
        means = []
        for length in lengths:
            values = [result.lengths[str(length)][metric] for result in group]
            means.append(mean(values))
            panel.scatter([length] * len(values), values, color=f"C{number}", s=12)
        panel.plot(lengths, means, color=f"C{number}", label=model)
    panel.axvline(trained_length, color="grey", linestyle=":")
    panel.set(xlabel="length (dotted: trained at)", ylabel=f"test {metric}")
    panel.set_xscale("log", base=2)
    _finish(figure, [panel], path, title=results[0].task)


def plot_sizes(path: Path, results: Sequence[SequenceResult]) -> None:
    """Draws the test metric of every run against the numbers in its state and against its parameters."""
    metric = results[0].metric
    sizes: list[tuple[str, Callable[[SequenceResult], int]]] = [
        ("numbers in the state after one row", lambda result: result.state_size),
        ("parameters", lambda result: result.parameters),
    ]
    figure, panels = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    for number, (model, group) in enumerate(by_model(results).items()):
        for panel, (label, size) in zip(panels, sizes, strict=True):
            values = [result.test[metric] for result in group]
            panel.scatter([size(result) for result in group], values, color=f"C{number}", label=model)
            panel.set(xlabel=label, ylabel=f"test {metric}")
            panel.set_xscale("log", base=2)
    for panel, (_, size) in zip(panels, sizes, strict=True):
        of_all = [size(result) for result in results]
        panel.set_xlim(min(of_all) / 2, max(of_all) * 2)  # so that powers of two stand at every axis
    _finish(figure, list(panels), path, title=results[0].task)


def plot_costs(path: Path, costs: dict[str, list[Cost]]) -> None:
    """Draws time and memory of a forward and backward pass against length."""
    figure, (times, memories) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for model, of_model in costs.items():
        lengths = [cost.length for cost in of_model]
        times.plot(lengths, [1e3 * cost.seconds for cost in of_model], marker=".", label=model)
        memories.plot(lengths, [cost.peak_bytes / 1e6 for cost in of_model], marker=".", label=model)
    times.set(ylabel="milliseconds, forward and backward", yscale="log", xlabel="length")
    memories.set(ylabel="megabytes at the worst moment", yscale="log", xlabel="length")
    for panel in (times, memories):
        panel.set_xscale("log", base=2)
    _finish(figure, [times, memories], path, title="cost of a pass")


def _finish(figure: Any, panels: Sequence[Any], path: Path, *, title: str) -> None:
    for panel in panels:
        panel.grid(alpha=0.3)
    panels[0].set_title(title)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    write_figure(path, figure)
    plt.close(figure)
