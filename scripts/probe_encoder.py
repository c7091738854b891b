"""Tells what can be read off the features of saved encoders, beside the two ends of the scale.

    python -m scripts.probe_encoder runs/NAME/encoder --frames frames/pong
    python -m scripts.probe_encoder runs/A/encoder runs/B/encoder --frames frames/pong --seeds 0 1 2
    python -m scripts.probe_encoder runs/NAME/encoder --frames frames/pong --supervised-minutes 0

On frames of one game that collect_frames wrote: linear and k-NN probes of the named variables in the console's memory
(weighted F1), of the action and of the next reward, and ridge regression of positions (R2), all on episodes of their
own. The same architecture is probed at random initialisation and, for --supervised-minutes, trained end to end on the
labels. Prints a table; --output holds every variable's scores of what is probed so far. About a minute an encoder and
seed on two cores, without the training. docs/probing.md explains every score.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import nn

from gen_ssl.encoders import Encoder, load_encoder
from gen_ssl.encoders.saving import locate, read_config
from gen_ssl.frames import FrameStore
from gen_ssl.probing import EncoderProbe, ProbeConfig
from scripts.run.command_line import run_command
from scripts.run.config_file import config_to_json
from scripts.run.devices import DeviceName, choose_device, keep_freed_memory, set_num_threads
from scripts.run.pretrain_assembly import open_frames
from scripts.run.probe_assembly import (
    RANDOM,
    SUPERVISED,
    ProbeRecord,
    probe_labels,
    probe_record,
    scores_table,
    train_on_labels,
    untrained_encoder,
    write_scores,
)


@dataclass(frozen=True, kw_only=True)
class ProbeEncoder:
    """Which encoders, on which frames."""

    encoders: Annotated[tuple[str, ...], tyro.conf.Positional]  # folders of saved encoders, or names on the Hub
    frames: Path  # a folder of one game's frames
    seeds: tuple[int, ...] = (0,)  # of the probes' batches, and of the random initialisation
    supervised_minutes: float = 5.0  # of training the same architecture on the labels; 0 leaves it out
    probe: Annotated[ProbeConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=ProbeConfig)
    device: DeviceName = "auto"  # of the encoders; the classifiers on their features are fitted on the CPU
    threads: int = 0  # CPU threads; 0: all cores
    output: Path | None = None  # a JSON file for every score, written again after each encoder

    def __post_init__(self) -> None:
        if not self.encoders or not self.seeds:
            raise ValueError("name at least one encoder and one seed")
        if self.supervised_minutes < 0:
            raise ValueError(f"supervised_minutes must be at least 0, got {self.supervised_minutes}")


def main(config: ProbeEncoder) -> None:
    """Probes every encoder with every seed, then the ends of the scale."""
    set_num_threads(config.threads)
    keep_freed_memory()
    device = choose_device(config.device)
    encoders = {path: load_encoder(path) for path in config.encoders}
    store = open_frames(config.frames)
    check_frame_shapes(encoders, store, stack=config.probe.stack)
    probe = EncoderProbe(store, probe_labels(store), config.probe)
    sizes = ", ".join(f"{len(part):,} {split}" for split, part in probe.parts.items())
    print(f"{store.games[0]}: {sizes} frames; {', '.join(label.name for label in probe.labels)}", file=sys.stderr)
    records: list[ProbeRecord] = []
    for seed in config.seeds:
        for name, encoder in _encoders(config, encoders, probe, seed, device):
            print(f"{name}, seed {seed}", file=sys.stderr)
            assert isinstance(encoder, nn.Module)
            records.append(probe_record(probe, name, probe.features(encoder.to(device)), seed=seed))
            if config.output is not None:
                write_scores(config.output, records, settings=config_to_json(config))
    print(scores_table(records))
    if config.output is not None:
        print(config.output)


def check_frame_shapes(encoders: Mapping[str, Encoder], store: FrameStore, *, stack: int) -> None:
    """Raises ValueError for an encoder that does not take stacks of this store's frames."""
    channels, height, width = store.frame_shape
    expected = (stack * channels, height, width)
    for path, encoder in encoders.items():
        if encoder.frame_shape != expected:
            raise ValueError(
                f"the encoder {path} takes stacks of shape {encoder.frame_shape}, {stack} frames of the store make "
                f"stacks of shape {expected}"
            )


def _encoders(
    config: ProbeEncoder, encoders: dict[str, Encoder], probe: EncoderProbe, seed: int, device: torch.device
) -> Iterator[tuple[str, Encoder]]:
    """Yields the saved encoders, and the ends of the scale of each architecture and its arguments among them."""
    yield from encoders.items()
    architectures = architectures_of(config.encoders)
    for architecture, path in architectures.items():
        of_several = f" ({architecture})" if len(architectures) > 1 else ""
        yield RANDOM + of_several, untrained_encoder(path, seed=seed)
        if config.supervised_minutes:
            encoder = untrained_encoder(path, seed=seed)
            trained = train_on_labels(probe, encoder, minutes=config.supervised_minutes, seed=seed, device=device)
            yield SUPERVISED + of_several, trained


def architectures_of(paths: tuple[str, ...]) -> dict[str, str]:
    """Returns the first of the paths of each architecture with its arguments, by a name for tables."""
    first: dict[str, tuple[str, str]] = {}
    for path in paths:
        architecture, arguments = read_config(locate(path))
        first.setdefault(repr((architecture, sorted(arguments.items()))), (architecture, path))
    names = [architecture for architecture, _ in first.values()]
    return {name if names.count(name) == 1 else f"{name} as {path}": path for name, path in first.values()}


def command() -> None:
    """Runs as a console command."""
    run_command(ProbeEncoder, main, documentation=__doc__)


if __name__ == "__main__":
    command()
