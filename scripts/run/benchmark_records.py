"""What every benchmark ends with: records of its figures, printed as a table and written as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from .run_directory import command_line
from .whole_file import write_json


@dataclass(frozen=True, kw_only=True)
class BenchmarkRecord:
    """One figure of one implementation: ours is called "cartridge", a peer by its package's name."""

    benchmark: str
    implementation: str
    setting: str
    value: float  # the median of the repeats
    unit: str
    repeats: int = 1
    spread: float = 0.0  # interquartile range of the repeats


def summarise(
    repeats: Sequence[float], *, benchmark: str, implementation: str, setting: str, unit: str
) -> BenchmarkRecord:
    """Returns the record of a figure that was measured several times."""
    lower, median, upper = np.percentile(repeats, [25, 50, 75])
    return BenchmarkRecord(
        benchmark=benchmark,
        implementation=implementation,
        setting=setting,
        value=float(median),
        unit=unit,
        repeats=len(repeats),
        spread=float(upper - lower),
    )


def records_table(records: Sequence[BenchmarkRecord]) -> str:
    """Returns the records as a Markdown table."""
    lines = ["| benchmark | implementation | setting | value | spread | unit |", "|---|---|---|---:|---:|---|"]
    lines += [
        f"| {record.benchmark} | {record.implementation} | {record.setting} "
        f"| {_short(record.value)} | {_short(record.spread) if record.repeats > 1 else ''} | {record.unit} |"
        for record in records
    ]
    return "\n".join(lines)


def write_records(path: Path, records: Sequence[BenchmarkRecord], *, conditions: str = "") -> None:
    """Writes the records as a JSON list, into a new folder where there is none: minutes of measuring are not lost.

    Each says by which command and under which conditions it was measured: those given, threads, PyTorch's version.
    """
    computed = f"threads {torch.get_num_threads()}, torch {torch.__version__}"
    made = {"conditions": f"{conditions}, {computed}" if conditions else computed, "command": command_line()}
    write_json(path, [asdict(record) | made for record in records])


def _short(value: float) -> str:
    """Returns a figure with three digits, or all those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.3g}"
