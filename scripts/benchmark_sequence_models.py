"""Measures time and peak memory of sequence models against length: ours, and peers' where they are installed.

    python -m scripts.benchmark_sequence_models                       a few minutes on two cores
    python -m scripts.benchmark_sequence_models --models mamba --lengths 512 2048 8192 --d-state 16 --output speed.json
    python -m scripts.benchmark_sequence_models --device cuda

One layer, one forward and backward pass of a batch; and the time of a single step after a context. Each figure comes
from a process of its own; the processes of all implementations take turns, `--rounds` times. A length at which a pass
takes longer than `--seconds-limit` is an implementation's last. Peers: mambapy, transformers, mamba_ssm (on a GPU), and
PyTorch's own layers. Expect our mamba well ahead of mambapy, and a step of s4 and mamba to cost the same everywhere.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.run.benchmark_records import records_table, write_records
from scripts.run.command_line import run_command
from scripts.run.devices import DeviceName, choose_device, device_description, set_num_threads
from scripts.run.sequence_benchmarks import Entry, check_sizes, measure_passes, measure_steps
from scripts.run.sequence_costs import CostSettings, rising
from scripts.run.sequence_workloads import OURS, Layer, Stepping, installed_peers
from seqmodels.mixers import MIXERS, make_mixer


@dataclass(frozen=True, kw_only=True)
class BenchmarkSequenceModels:
    """What to measure."""

    models: tuple[str, ...] = ("attention-rotary", "s4", "s4d-lin", "mamba", "mamba2", "gru")
    lengths: tuple[int, ...] = (256, 1_024, 4_096)
    contexts: tuple[int, ...] = (256, 4_096, 65_536)  # after which a step is measured; none given: no steps
    d_model: int = 64
    d_state: int | None = None  # None: each mixer's own default
    batch_size: int = 8  # of a pass; steps have one row
    peers: bool = True
    rounds: int = 3
    repeats: int = 3  # timings of a figure in each round
    seconds_limit: float = 5.0
    seed: int = 0  # of weights and inputs, which no time depends on
    device: DeviceName = "auto"
    threads: int = 0  # CPU threads; 0: all cores
    output: Path | None = None  # JSON file for the records

    def __post_init__(self) -> None:
        for name in ("d_model", "batch_size", "rounds", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        rising(self.lengths)
        if self.contexts:
            rising(self.contexts)
        for name in self.models:
            if name not in MIXERS:
                make_mixer(name, self.d_model)  # raises with the nearest names


def main(config: BenchmarkSequenceModels) -> None:
    """Measures everything in turn and prints the table."""
    set_num_threads(config.threads)
    device = choose_device(config.device)
    d_state = "each mixer's own" if config.d_state is None else config.d_state
    sizes = f"d_model {config.d_model}, d_state {d_state}, batch {config.batch_size}"
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
        records += measure_steps(steps, settings._replace(lengths=rising(config.contexts)), config.rounds)
    print(records_table(records))
    if config.output is not None:
        write_records(config.output, records, conditions=conditions)
        print(config.output)


def passes(config: BenchmarkSequenceModels, device: str) -> list[Entry]:
    """Returns what is compared: each model's layer, ours and those of the peers that are there."""
    layer = partial(
        Layer,
        d_model=config.d_model,
        d_state=config.d_state,
        batch_size=config.batch_size,
        max_length=max(config.lengths),
    )
    return [
        Entry(
            benchmark=model,
            implementation=implementation,
            name="one layer",
            subject=layer(implementation=implementation, model=model),
        )
        for model in config.models
        for implementation in [OURS, *(installed_peers(model, device) if config.peers else [])]
    ]


def steppings(config: BenchmarkSequenceModels) -> list[Stepping]:
    """Returns the models whose steps are measured."""
    layer = partial(
        Layer,
        implementation=OURS,
        d_model=config.d_model,
        batch_size=1,
        d_state=config.d_state,
        max_length=max(config.contexts) + Stepping.steps,
    )
    return [Stepping(layer=layer(model=model)) for model in config.models]


def command() -> None:
    """Runs as a console command."""
    run_command(BenchmarkSequenceModels, main, documentation=__doc__)


if __name__ == "__main__":
    command()
