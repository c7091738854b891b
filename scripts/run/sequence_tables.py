"""Tables of a comparison of sequence models, as Markdown."""

from collections.abc import Sequence
from statistics import mean
from typing import TypeVar

from .sequence_config import SequenceRunConfig
from .sequence_costs import Cost
from .sequence_result import Cell, SequenceResult

Named = TypeVar("Named", SequenceResult, Cell)
DIVERGED = "diverged"


def by_model(cells: Sequence[Named]) -> dict[str, list[Named]]:
    """Returns the results of each model, models and seeds in the order in which they come."""
    groups: dict[str, list[Named]] = {}
    for cell in cells:
        groups.setdefault(cell.model, []).append(cell)
    return groups


def results_table(cells: Sequence[Cell]) -> str:
    """Returns one row a model: its size, its rate, the test metric of every seed, and what it took.

    At least one cell has a result. A model of which a seed diverged has no mean: that of the others would flatter it.
    """
    metric = next(cell.metric for cell in cells if isinstance(cell, SequenceResult))
    header = [
        "model",
        "parameters",
        "state",
        "learning rate",
        f"test {metric}, mean",
        "each seed",
        "steps",
        "minutes",
        "tokens a second",
    ]
    rows = []
    for model, group in by_model(cells).items():
        results = [cell for cell in group if isinstance(cell, SequenceResult)]
        seeds = [figure(cell.test[metric], metric) if isinstance(cell, SequenceResult) else DIVERGED for cell in group]
        row = [model, "", "", f"{group[0].learning_rate:g}", DIVERGED, ", ".join(seeds), "", "", ""]
        if results:
            row[1:3] = [f"{results[0].parameters:,}", f"{results[0].state_size:,}"]
            row[6:] = [
                f"{mean(result.steps for result in results):,.0f}",
                f"{mean(result.seconds for result in results) / 60:.1f}",
                f"{mean(training_speed(result) for result in results):,.0f}",
            ]
        if len(results) == len(group):
            row[4] = figure(mean(result.test[metric] for result in results), metric)
        rows.append(row)
    return markdown(header, rows)


def trained_on(results: Sequence[SequenceResult]) -> str:
    """Returns on what the models were trained, with their names where it is not the same for all."""
    models: dict[str, list[str]] = {}
    for result in results:
        models.setdefault(result.machine, []).append(result.model)
    if len(models) == 1:
        return next(iter(models))
    return "; ".join(f"{machine} ({', '.join(dict.fromkeys(names))})" for machine, names in models.items())


def training_speed(result: SequenceResult) -> float:
    """Returns the tokens learned from a second, by wall time up to the last validation: tests are left out."""
    return result.curve[-1]["tokens"] / result.curve[-1]["seconds"]


def lengths_table(results: Sequence[SequenceResult]) -> str:
    """Returns the test metric at every length, the mean over seeds and each of them."""
    metric = results[0].metric
    lengths = sorted({int(length) for result in results for length in result.lengths})
    rows = []
    for model, group in by_model(results).items():
        row = [model]
        for length in map(str, lengths):
            values = [result.lengths[length][metric] for result in group if length in result.lengths]
            each = f" ({', '.join(figure(value, metric) for value in values)})" if len(values) > 1 else ""
            row.append(f"{figure(mean(values), metric)}{each}" if values else "")
        rows.append(row)
    return markdown(["model", *(f"L {length:,}" for length in lengths)], rows)


def settings_table(chosen: Sequence[SequenceRunConfig], searched: Sequence[Cell]) -> str:
    """Returns one row a model: what it was trained with, and the last validation of every rate that was tried."""
    rows = []
    for config in chosen:
        training, optimizer = config.training, config.training.optimizer
        feed_forward = config.architecture.feed_forward_dim(config.model)
        tried = [cell for cell in searched if cell.model == config.label]
        rows.append(
            [
                config.label,
                str(config.architecture.d_model),
                str(config.architecture.num_layers),
                "none" if feed_forward is None else str(feed_forward),
                str(training.batch_size),
                f"{training.total_steps:,}",
                str(optimizer.warmup_steps),
                f"{optimizer.weight_decay:g}",
                f"{optimizer.learning_rate:g}",
                ", ".join(f"{cell.learning_rate:g}: {_last_validation(cell)}" for cell in tried),
            ]
        )
    header = ["model", "width", "layers", "feed-forward", "batch", "steps at most", "warm-up", "decay", "rate"]
    return markdown([*header, "rates tried"], rows)


def _last_validation(cell: Cell) -> str:
    return figure(cell.curve[-1][cell.metric], cell.metric) if isinstance(cell, SequenceResult) else DIVERGED


def costs_table(costs: dict[str, list[Cost]]) -> str:
    """Returns milliseconds and megabytes of a forward and backward pass at every length."""
    lengths = sorted({cost.length for model in costs.values() for cost in model})
    rows = []
    for model, of_model in costs.items():
        at = {cost.length: cost for cost in of_model}
        cells = [f"{1e3 * at[n].seconds:.3g} ms, {at[n].peak_bytes / 1e6:.3g} MB" if n in at else "" for n in lengths]
        rows.append([model, *cells])
    return markdown(["model", *(f"L {length:,}" for length in lengths)], rows)


def figure(value: float, metric: str) -> str:
    """Returns an accuracy in percent, a loss with three digits."""
    return f"{100 * value:.1f}" if metric.endswith("accuracy") else f"{value:.3g}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table: the first column on the left, all others on the right."""
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
