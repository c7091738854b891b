"""Measures time and peak memory of the scans behind Mamba and S4: every backend of ours, and peers where installed.

    python -m scripts.benchmark_scan                          minutes on two cores, most of them transformers'
    python -m scripts.benchmark_scan --lengths 512 --rounds 1 --output scan.json
    python -m scripts.benchmark_scan --device cuda            Triton's and mamba-ssm's kernels; none has been run yet

One layer, one forward and backward pass of a batch, at every length. Each figure comes from a process of its own, and
the processes of all implementations take turns, `--rounds` times. Compared are Mamba's layer per backend with mambapy
and transformers (its fallback: a loop over positions), Mamba-2's with transformers, S4D's kernel and convolution with
the materialised Vandermonde matrix, and a single step of S4 and Mamba after a short and a long context. Expect the
backend `cpp` to be several times as fast as mambapy, and steps to cost the same after every context.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.run.benchmark_records import records_table, write_records
from scripts.run.command_line import run_command
from scripts.run.devices import DeviceName, choose_device, device_description, set_num_threads
from scripts.run.scan_workloads import S4DConvolution
from scripts.run.sequence_benchmarks import Entry, check_sizes, measure_passes, measure_steps
from scripts.run.sequence_costs import CostSettings, rising
from scripts.run.sequence_workloads import OURS, Layer, Stepping, why_not_there
from seqmodels.s4d import S4D
from seqmodels.scans import Backend, choose_backend

BACKENDS: dict[str, tuple[Backend, ...]] = {"cpu": ("cpp", "torch"), "cuda": ("triton", "torch", "mamba_ssm")}
SECONDS_TO_READ = 120.0  # a context that takes longer is left out


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
    repeats: int = 3  # timings of a figure in each round, at least
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
        if self.contexts:
            rising(self.contexts)
        for d_state in self.s4d_states:
            S4D(self.d_model, d_state=d_state)  # raises for what is no even number


def main(config: BenchmarkScan) -> None:
    """Measures everything in turn and prints the table."""
    set_num_threads(config.threads)
    device = choose_device(config.device)
    sizes = f"d_model {config.d_model}, d_state {config.d_state}, batch {config.batch_size}"
    conditions = f"one layer, {sizes}, on {device_description(device)}"
    print(conditions)
    settings = CostSettings(
        lengths=rising(config.lengths),
        repeats=config.repeats,
        seconds_limit=config.seconds_limit,
        threads=config.threads,
        device=device.type,
        seed=config.seed,
    )
    entries, steps = passes(config, device.type), steppings(config) if config.contexts else []
    check_sizes(entries, steps)
    records = measure_passes(entries, settings, config.rounds)
    if steps:
        # A context is read once before any step after it, which may take longer than a pass.
        settings = settings._replace(lengths=rising(config.contexts), seconds_limit=SECONDS_TO_READ)
        records += measure_steps(steps, settings, config.rounds)
    print(records_table(records))
    if config.output is not None:
        write_records(config.output, records, conditions=conditions)
        print(config.output)


def passes(config: BenchmarkScan, device: str) -> list[Entry]:
    """Returns what is compared, of our backends and the peers those that are there; says which are not."""
    layer = partial(Layer, d_model=config.d_model, d_state=config.d_state, batch_size=config.batch_size)
    entries = []
    for backend in BACKENDS[device]:
        try:
            choose_backend(backend, choose_device("cuda" if device == "cuda" else "cpu"))
        except ValueError as error:
            print(f"left out: {error}")
            continue
        subject = layer(implementation=OURS, model="mamba", backend=backend)
        entries.append(Entry(benchmark="mamba", implementation=OURS, name=backend, subject=subject))
    subject = layer(implementation=OURS, model="mamba2")
    entries.append(Entry(benchmark="mamba2", implementation=OURS, name="matmul", subject=subject))
    for package, model in (("mambapy", "mamba"), ("transformers", "mamba"), ("transformers", "mamba2")):
        if reason := why_not_there(package):
            print(f"left out: {reason}")
            continue
        subject = layer(implementation=package, model=model)
        # transformers takes mamba_ssm's kernels where they are.
        kernels = package == "transformers" and device == "cuda" and not why_not_there("mamba_ssm")
        name = "with mamba_ssm's kernels" if kernels else "fallback"
        entries.append(Entry(benchmark=model, implementation=package, name=name, subject=subject))
    return entries + convolutions(config)


def convolutions(config: BenchmarkScan) -> list[Entry]:
    """Returns S4D's kernel and convolution, and its plain form, at each number of states."""
    return [
        Entry(
            benchmark=f"s4d, N {d_state}",
            implementation=implementation,
            name="kernel and convolution",
            subject=S4DConvolution(
                materialised=materialised, d_model=config.d_model, d_state=d_state, batch_size=config.batch_size
            ),
        )
        for d_state in config.s4d_states
        for implementation, materialised in ((OURS, False), ("vandermonde", True))
    ]


def steppings(config: BenchmarkScan) -> list[Stepping]:
    """Returns the models whose steps are measured, with their own numbers of states."""
    return [
        Stepping(layer=Layer(implementation=OURS, model=model, d_model=config.d_model, batch_size=1))
        for model in ("s4", "s4d-lin", "mamba", "mamba2")
    ]


if __name__ == "__main__":
    run_command(BenchmarkScan, main, documentation=__doc__)
