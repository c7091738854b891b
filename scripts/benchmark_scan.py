"""Measures time and peak memory of the scans behind Mamba and S4: every backend of ours, and peers where installed.

    python -m scripts.benchmark_scan                          ten minutes on two cores, most of them transformers'
    python -m scripts.benchmark_scan --lengths 512 --rounds 1 --output scan.json
    python -m scripts.benchmark_scan --device cuda            Triton's and mamba-ssm's kernels; none has been run yet

One layer, one forward and backward pass of a batch, at every length. Each figure comes from a process of its own, and
the processes of all implementations take turns, `--rounds` times. Compared are Mamba's layer per backend with mambapy
and transformers (its fallback: a loop over positions), Mamba-2's with transformers, S4D's kernel and convolution with
the materialised Vandermonde matrix, and a single step of S4 and Mamba after a short and a long context. Expect the
backend `cpp` to be several times as fast as mambapy, and steps to cost the same after every context.
"""

import importlib.util
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.run.benchmark_records import BenchmarkRecord, records_table, summarise, write_records
from scripts.run.command_line import run_command
from scripts.run.devices import DeviceName, choose_device, device_description, set_num_threads
from scripts.run.scan_workloads import S4DConvolution, ScanLayer
from scripts.run.sequence_costs import Cost, CostSettings, costs_in_a_fresh_process, rising
from scripts.run.sequence_workloads import Layer, Stepping
from seqmodels.scans import Backend, choose_backend

OURS = "cartridge"
BACKENDS: dict[str, tuple[Backend, ...]] = {"cpu": ("cpp", "torch"), "cuda": ("triton", "torch", "mamba_ssm")}
Subject = ScanLayer | S4DConvolution | Layer | Stepping


@dataclass(frozen=True, kw_only=True)
class BenchmarkScan:
    """What to measure. The defaults are the setting of the published figures."""

    lengths: tuple[int, ...] = (512, 2_048, 8_192)
    contexts: tuple[int, ...] = (256, 65_536)  # after which a step is measured; none given: no steps
    d_model: int = 64
    d_state: int = 16
    s4d_states: tuple[int, ...] = (16, 64)  # of S4D's kernel; 64 is the layer's default
    batch_size: int = 8  # of a pass; steps have one row
    rounds: int = 3
    repeats: int = 3  # timings of a figure in each round
    seconds_limit: float = 10.0  # longer lengths are left out for an implementation once a pass has taken so long
    seed: int = 0  # of weights and inputs, which no time depends on
    device: DeviceName = "auto"
    threads: int = 0  # CPU threads; 0: all cores
    output: Path | None = None  # JSON file for the records

    def __post_init__(self) -> None:
        for name in ("d_model", "d_state", "batch_size", "rounds", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        rising(self.lengths)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the comparison."""

    benchmark: str
    implementation: str
    name: str  # which of an implementation's
    subject: Subject

    def setting(self, length: int) -> str:
        """Returns what is written beside the figure at a length."""
        return f"{self.name}, L {length:,}"


def main(config: BenchmarkScan) -> None:
    """Measures everything in turn and prints the table."""
    set_num_threads(config.threads)
    device = choose_device(config.device)
    sizes = f"d_model {config.d_model}, d_state {config.d_state}, batch {config.batch_size}"
    print(f"one layer, {sizes}, on {device_description(device)}")
    records = measure_passes(config, passes(config, device.type), device.type)
    if config.contexts:
        records += measure_steps(config, device.type)
    print(records_table(records))
    if config.output is not None:
        write_records(config.output, records)
        print(config.output)


def passes(config: BenchmarkScan, device: str) -> list[Entry]:
    """Returns what is compared, of our backends and the peers those that are there; says which are not."""
    ours = partial(ScanLayer, d_model=config.d_model, d_state=config.d_state, batch_size=config.batch_size)
    theirs = partial(Layer, d_model=config.d_model, d_state=config.d_state, batch_size=config.batch_size)
    entries = []
    for backend in BACKENDS[device]:
        try:
            choose_backend(backend, choose_device("cuda" if device == "cuda" else "cpu"))
        except ValueError as error:
            print(f"left out: {error}")
            continue
        subject = ours(model="mamba", backend=backend)
        entries.append(Entry(benchmark="mamba", implementation=OURS, name=backend, subject=subject))
    entries.append(Entry(benchmark="mamba2", implementation=OURS, name="matmul", subject=ours(model="mamba2")))
    for package, model in (("mambapy", "mamba"), ("transformers", "mamba"), ("transformers", "mamba2")):
        if importlib.util.find_spec(package) is None:
            print(f"left out: {package} is not installed: pip install -e '.[bench]'")
            continue
        peer = theirs(implementation=package, model=model)
        entries.append(Entry(benchmark=model, implementation=package, name="fallback", subject=peer))
    return entries + convolutions(config)


def convolutions(config: BenchmarkScan) -> list[Entry]:
    """Returns S4D's kernel and convolution, and its plain form, at each number of states."""
    entries = []
    for d_state in config.s4d_states:
        for implementation, materialised in ((OURS, False), ("vandermonde", True)):
            convolution = S4DConvolution(
                materialised=materialised, d_model=config.d_model, d_state=d_state, batch_size=config.batch_size
            )
            name = f"kernel and convolution, N {d_state}"
            entries.append(Entry(benchmark="s4d", implementation=implementation, name=name, subject=convolution))
    return entries


def measure_passes(config: BenchmarkScan, entries: list[Entry], device: str) -> list[BenchmarkRecord]:
    """Returns milliseconds and megabytes of forward and backward, and how much more the peers take."""
    settings = CostSettings(rising(config.lengths), config.repeats, config.seconds_limit, config.threads, device)
    measured = in_turns([entry.subject for entry in entries], settings, config.rounds)
    records = []
    for entry, rounds in zip(entries, measured, strict=True):
        for length, costs in by_length(rounds).items():
            common = {"implementation": entry.implementation, "setting": entry.setting(length)}
            milliseconds = [1e3 * cost.seconds for cost in costs]
            megabytes = [cost.peak_bytes / 1e6 for cost in costs]
            records.append(summarise(milliseconds, **common, benchmark=f"{entry.benchmark}, time", unit="ms"))
            records.append(summarise(megabytes, **common, benchmark=f"{entry.benchmark}, peak memory", unit="MB"))
    return records + ratios(records)


def measure_steps(config: BenchmarkScan, device: str) -> list[BenchmarkRecord]:
    """Returns microseconds of one step of S4 and Mamba after each context, and the longest over the shortest."""
    steppings = [
        Stepping(layer=Layer(implementation=OURS, model=model, d_model=config.d_model, batch_size=1))
        for model in ("s4", "s4d-lin", "mamba", "mamba2")
    ]
    settings = CostSettings(rising(config.contexts), config.repeats, config.seconds_limit, config.threads, device)
    records = []
    for stepping, rounds in zip(steppings, in_turns(steppings, settings, config.rounds), strict=True):
        of_model = [
            summarise(
                [1e6 * cost.seconds / stepping.steps for cost in costs],
                benchmark="step",
                implementation=OURS,
                setting=f"{stepping.layer.model}, after {context:,}",
                unit="us",
            )
            for context, costs in by_length(rounds).items()
        ]
        records += of_model
        if len(of_model) > 1:
            growth = of_model[-1].value / of_model[0].value
            setting = f"{stepping.layer.model}, the longest context over the shortest"
            records.append(
                BenchmarkRecord(benchmark="step", implementation=OURS, setting=setting, value=growth, unit="x")
            )
    return records


def in_turns(subjects: list[Subject] | list[Stepping], settings: CostSettings, rounds: int) -> list[list[list[Cost]]]:
    """Returns, for each subject, the costs of every round; all are measured once before any a second time."""
    measured: list[list[list[Cost]]] = [[] for _ in subjects]
    for _ in range(rounds):
        for own, subject in zip(measured, subjects, strict=True):
            own.append(costs_in_a_fresh_process(subject, settings))
    return measured


def by_length(rounds: list[list[Cost]]) -> dict[int, list[Cost]]:
    """Returns the costs of all rounds at each length."""
    found: dict[int, list[Cost]] = {}
    for cost in (cost for costs in rounds for cost in costs):
        found.setdefault(cost.length, []).append(cost)
    return found


def ratios(records: list[BenchmarkRecord]) -> list[BenchmarkRecord]:
    """Returns each peer's figure over each of ours at the same length: above 1 ours is faster or smaller."""
    found = []
    for peer in (record for record in records if record.implementation != OURS):
        *_, states, length = ["", *peer.setting.split(", ")]
        for own in (record for record in records if record.implementation == OURS):
            comparable = own.benchmark == peer.benchmark and own.setting.endswith(f", {length}")
            if states.startswith("N "):  # with as many states only
                comparable = comparable and own.setting == peer.setting
            if comparable and own.value > 0:  # a pass too small to be seen takes no memory
                found.append(
                    BenchmarkRecord(
                        benchmark=peer.benchmark,
                        implementation=peer.implementation,
                        setting=f"over {own.setting}",
                        value=peer.value / own.value,
                        unit="x",
                    )
                )
    return found


if __name__ == "__main__":
    run_command(BenchmarkScan, main, documentation=__doc__)
