"""What the benchmarks of sequence models and of scans share: subjects measured in turn, and the records of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .benchmark_records import BenchmarkRecord, summarise
from .progress import in_turns
from .sequence_costs import Cost, CostSettings, Workload, costs_in_a_fresh_process
from .sequence_workloads import OURS, Layer, Stepping

Subject = Callable[[str], Workload]  # from a device to what is measured on it; it must be picklable


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a comparison."""

    benchmark: str  # only entries of one benchmark are compared with each other
    implementation: str  # ours, or the peer's package
    name: str  # which of an implementation's
    subject: Subject

    def setting(self, length: int) -> str:
        """Returns what is written beside the figure at a length."""
        return f"{self.name}, L {length:,}"


def check_sizes(entries: Iterable[Entry], steppings: Iterable[Stepping]) -> None:
    """Builds our layers once: a size that one of them cannot have is refused before anything is measured."""
    layers = [entry.subject for entry in entries if entry.implementation == OURS]
    for layer in [*layers, *(stepping.layer for stepping in steppings)]:
        if isinstance(layer, Layer):
            layer.build()


def measure_passes(entries: Sequence[Entry], settings: CostSettings, rounds: int) -> list[BenchmarkRecord]:
    """Returns milliseconds and megabytes of forward and backward, and how much more the peers take."""
    measured = costs_in_turns([entry.subject for entry in entries], settings, rounds)
    records = []
    for entry, of_rounds in zip(entries, measured, strict=True):
        for length, costs in by_length(of_rounds).items():
            common = {"implementation": entry.implementation, "setting": entry.setting(length)}
            milliseconds = [1e3 * cost.seconds for cost in costs]
            megabytes = [cost.peak_bytes / 1e6 for cost in costs]
            records.append(summarise(milliseconds, **common, benchmark=f"{entry.benchmark}, time", unit="ms"))
            records.append(summarise(megabytes, **common, benchmark=f"{entry.benchmark}, peak memory", unit="MB"))
    return records + ratios(records)


def measure_steps(steppings: Sequence[Stepping], settings: CostSettings, rounds: int) -> list[BenchmarkRecord]:
    """Returns microseconds of one step after each context, and the longest context's over the shortest's."""
    records = []
    for stepping, of_rounds in zip(steppings, costs_in_turns(steppings, settings, rounds), strict=True):
        of_model = [
            summarise(
                [1e6 * cost.seconds / stepping.steps for cost in costs],
                benchmark="step",
                implementation=OURS,
                setting=f"{stepping.layer.model}, after {context:,}",
                unit="us",
            )
            for context, costs in by_length(of_rounds).items()
        ]
        records += of_model
        if len(of_model) > 1:
            growth = of_model[-1].value / of_model[0].value
            setting = f"{stepping.layer.model}, the longest context over the shortest"
            records.append(
                BenchmarkRecord(benchmark="step", implementation=OURS, setting=setting, value=growth, unit="x")
            )
    return records


def costs_in_turns(subjects: Sequence[Subject], settings: CostSettings, rounds: int) -> list[list[list[Cost]]]:
    """Returns, for each subject, the costs of every round; all are measured once before any a second time."""
    measured: list[list[list[Cost]]] = [[] for _ in subjects]
    for own, subject in in_turns(list(zip(measured, subjects, strict=True)), rounds):
        own.append(costs_in_a_fresh_process(subject, settings))
    return measured


def by_length(rounds: Sequence[Sequence[Cost]]) -> dict[int, list[Cost]]:
    """Returns the costs of all rounds at each length."""
    found: dict[int, list[Cost]] = {}
    for cost in (cost for costs in rounds for cost in costs):
        found.setdefault(cost.length, []).append(cost)
    return found


def ratios(records: Sequence[BenchmarkRecord]) -> list[BenchmarkRecord]:
    """Returns each peer's figure over each of ours of its benchmark and length: above 1 ours is faster or smaller."""
    ours = [record for record in records if record.implementation == OURS]
    return [
        BenchmarkRecord(
            benchmark=peer.benchmark,
            implementation=peer.implementation,
            setting=f"over {own.setting}",
            value=peer.value / own.value,
            unit="x",
        )
        for peer in records
        for own in ours
        if peer.implementation != OURS
        and (own.benchmark, _length(own)) == (peer.benchmark, _length(peer))
        and own.value > 0  # a pass too small to be seen takes no memory
    ]


def _length(record: BenchmarkRecord) -> str:
    return record.setting.rpartition(", ")[2]
