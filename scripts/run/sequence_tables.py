"""Tables of a comparison of sequence models, as Markdown."""

from collections.abc import Sequence
from statistics import mean

from .sequence_config import SequenceRunConfig
from .sequence_costs import Cost
from .sequence_result import SequenceResult


def by_model(results: Sequence[SequenceResult]) -> dict[str, list[SequenceResult]]:
    """Returns the results of each model, models and seeds in the order in which they come."""
    groups: dict[str, list[SequenceResult]] = {}
    for result in results:
        groups.setdefault(result.model, []).append(result)
    return groups


def results_table(results: Sequence[SequenceResult]) -> str:
    """Returns one row a model: its size, its rate, the test metric of every seed, and what it took."""
    metric = results[0].metric
    header = [
        "model",
        "parameters",
        "state",
        "learning rate",
        f"test {metric}, mean",
        "each seed",
        "minutes",
        "tokens a second",
    ]
    rows = []
    for model, group in by_model(results).items():
        values = [result.test[metric] for result in group]
        rows.append(
            [
                model,
                f"{group[0].parameters:,}",
                f"{group[0].state_size:,}",
                f"{group[0].learning_rate:g}",
                figure(mean(values), metric),
                ", ".join(figure(value, metric) for value in values),
                f"{mean(result.seconds for result in group) / 60:.1f}",
                f"{mean(result.tokens / result.seconds for result in group):,.0f}",
            ]
        )
    return markdown(header, rows)


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


def settings_table(chosen: Sequence[SequenceRunConfig], searched: Sequence[SequenceResult]) -> str:
    """Returns one row a model: what it was trained with, and the validation of every rate that was tried."""
    rows = []
    for config in chosen:
        training, optimizer = config.training, config.training.optimizer
        feed_forward = config.architecture.feed_forward_dim(config.model)
        tried = [result for result in searched if result.model == config.label]
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
                ", ".join(f"{one.learning_rate:g}: {figure(one.validation[one.metric], one.metric)}" for one in tried),
            ]
        )
    header = ["model", "width", "layers", "feed-forward", "batch", "steps", "warm-up", "decay", "rate", "rates tried"]
    return markdown(header, rows)


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
