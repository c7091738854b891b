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
from pathlib import Path

from scripts.run.benchmark_records import BenchmarkRecord, records_table, summarise, write_records
from scripts.run.command_line import run_command
from scripts.run.devices import DeviceName, choose_device, device_description, set_num_threads
from scripts.run.sequence_costs import Cost, CostSettings, costs_in_a_fresh_process, rising
from scripts.run.sequence_workloads import Layer, Stepping, installed_peers
from seqmodels.mixers import MIXERS, make_mixer

OURS = "cartridge"


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
        for name in self.models:
            if name not in MIXERS:
                make_mixer(name, self.d_model)  # raises with the nearest names


def main(config: BenchmarkSequenceModels) -> None:
    """Measures everything in turn and prints the table."""
    set_num_threads(config.threads)
    device = choose_device(config.device)
    print(f"one layer, d_model {config.d_model}, batch {config.batch_size}, on {device_description(device)}")
    records = measure_passes(config, device.type)
    if config.contexts:
        records += measure_steps(config, device.type)
    print(records_table(records))
    if config.output is not None:
        write_records(config.output, records)
        print(config.output)


def measure_passes(config: BenchmarkSequenceModels, device: str) -> list[BenchmarkRecord]:
    """Returns milliseconds and megabytes of forward and backward, and how much more the peers take."""
    layers = [
        Layer(
            implementation=implementation,
            model=model,
            d_model=config.d_model,
            batch_size=config.batch_size,
            d_state=config.d_state,
        )
        for model in config.models
        for implementation in [OURS, *(installed_peers(model, device) if config.peers else [])]
    ]
    settings = CostSettings(rising(config.lengths), config.repeats, config.seconds_limit, config.threads, device)
    rounds = [[costs_in_a_fresh_process(layer, settings) for layer in layers] for _ in range(config.rounds)]
    records = []
    for number, layer in enumerate(layers):
        for length, costs in by_length([costs[number] for costs in rounds]).items():
            common = {"implementation": layer.implementation, "setting": f"{layer.model}, L {length:,}"}
            milliseconds = [1e3 * cost.seconds for cost in costs]
            megabytes = [cost.peak_bytes / 1e6 for cost in costs]
            records.append(summarise(milliseconds, **common, benchmark="forward and backward", unit="ms"))
            records.append(summarise(megabytes, **common, benchmark="peak memory", unit="MB"))
    return records + ratios(records)


def measure_steps(config: BenchmarkSequenceModels, device: str) -> list[BenchmarkRecord]:
    """Returns the microseconds of one step of our models after each context."""
    steppings = [
        Stepping(
            layer=Layer(implementation=OURS, model=model, d_model=config.d_model, batch_size=1, d_state=config.d_state)
        )
        for model in config.models
    ]
    settings = CostSettings(rising(config.contexts), config.repeats, config.seconds_limit, config.threads, device)
    rounds = [[costs_in_a_fresh_process(one, settings) for one in steppings] for _ in range(config.rounds)]
    records = []
    for number, stepping in enumerate(steppings):
        for context, costs in by_length([costs[number] for costs in rounds]).items():
            microseconds = [1e6 * cost.seconds / stepping.steps for cost in costs]
            setting = f"{stepping.layer.model}, after {context:,}"
            records.append(summarise(microseconds, benchmark="step", implementation=OURS, setting=setting, unit="us"))
    return records


def by_length(rounds: list[list[Cost]]) -> dict[int, list[Cost]]:
    """Returns the costs of all rounds at each length."""
    found: dict[int, list[Cost]] = {}
    for costs in rounds:
        for cost in costs:
            found.setdefault(cost.length, []).append(cost)
    return found


def ratios(records: list[BenchmarkRecord]) -> list[BenchmarkRecord]:
    """Returns each peer's figure over ours in the same setting: above 1 ours is faster or smaller."""
    ours = {(record.benchmark, record.setting): record for record in records if record.implementation == OURS}
    return [
        BenchmarkRecord(
            benchmark=f"{record.benchmark}, over ours",
            implementation=record.implementation,
            setting=record.setting,
            value=record.value / ours[record.benchmark, record.setting].value,
            unit="x",
        )
        for record in records
        if record.implementation != OURS
        and (record.benchmark, record.setting) in ours
        and ours[record.benchmark, record.setting].value > 0  # a pass too small to be seen takes no memory
    ]


def command() -> None:
    """Runs as a console command."""
    run_command(BenchmarkSequenceModels, main, documentation=__doc__)


if __name__ == "__main__":
    command()
