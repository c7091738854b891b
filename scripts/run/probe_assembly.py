"""What a probe of encoders is made of: labels from the console's memory, encoders to compare with, a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from envs.ram import RAM_VARIABLES, ram_variables
from gen_ssl.encoders import ENCODERS, Encoder
from gen_ssl.encoders.saving import locate, read_config
from gen_ssl.frames import FrameStore, Split
from gen_ssl.probing import (
    EncoderProbe,
    LabelReader,
    Labels,
    ProbeScores,
    SupervisedConfig,
    frame_labels,
    train_supervised,
)

from .devices import computes_in_bfloat16
from .progress import Progress
from .seeding import integer_seed
from .whole_file import write_json

RANDOM, SUPERVISED = "random initialisation", "trained end to end"  # the ends of a probe's scale, in tables
MOST_FREQUENT = "most frequent value"  # below both: no encoder at all


def probe_labels(store: FrameStore) -> LabelReader:
    """Returns what reads every variable that can be probed on a store: the console's memory's, action and reward.

    Raises ValueError for a store of several games: a byte means something else in each.
    """
    if len(store.games) != 1:
        raise ValueError(f"an encoder is probed on one game at a time, got frames of {', '.join(store.games)}")
    game = store.games[0]

    def read(indices: Int64[np.ndarray, " n"]) -> list[Labels]:
        labels = list(frame_labels(store, indices))
        if store.has_ram and game in RAM_VARIABLES:
            memory = store.ram(indices)
            labels += [
                Labels(
                    name=variable.name,
                    values=memory[:, variable.byte].astype(np.int64),
                    category=variable.category,
                    is_small_object=variable.is_small_object,
                    is_position=variable.axis is not None,
                )
                for variable in ram_variables(game)
            ]
        return labels

    return read


def untrained_encoder(path: str | Path, *, seed: int) -> Encoder:
    """Returns a new encoder of the architecture that is saved at a path, with random weights.

    Seeds PyTorch's global generator, from which modules draw their weights.
    """
    architecture, arguments = read_config(locate(path))
    if architecture not in ENCODERS:
        raise ValueError(f"{path} holds a {architecture!r}, which is not one of our encoders: {', '.join(ENCODERS)}")
    torch.manual_seed(integer_seed(seed, "weights"))
    return ENCODERS[architecture](**arguments)


@dataclass(frozen=True, kw_only=True)
class ProbeRecord:
    """The scores of one encoder with one seed."""

    encoder: str  # a name for tables, RANDOM and SUPERVISED among them
    game: str
    seed: int
    standardised: bool  # whether the linear probe's features were
    summary: dict[str, float]
    f1: dict[str, float]
    knn_f1: dict[str, float]
    r2: dict[str, float]


def probe_record(
    probe: EncoderProbe, name: str, features: Mapping[Split, Float[Tensor, "_ d"]], *, seed: int
) -> ProbeRecord:
    """Returns the scores of `probe.features(encoder)` under the encoder's name in tables."""
    return _record(probe, name, probe.scores(features, seed=integer_seed(seed, "probing")), seed=seed)


def most_frequent_record(probe: EncoderProbe, *, seed: int) -> ProbeRecord:
    """Returns the scores of no encoder at all, which a probe that has learned nothing has too."""
    return _record(probe, MOST_FREQUENT, probe.scores_of_most_frequent(), seed=seed)


def _record(probe: EncoderProbe, name: str, scores: ProbeScores, *, seed: int) -> ProbeRecord:
    return ProbeRecord(
        encoder=name,
        game=probe.store.games[0],
        seed=seed,
        standardised=probe.config.linear.standardise,
        summary=scores.summary,
        f1=scores.f1,
        knn_f1=scores.knn_f1,
        r2=scores.r2,
    )


def train_on_labels(
    probe: EncoderProbe, encoder: Encoder, *, minutes: float, seed: int, device: torch.device
) -> Encoder:
    """Trains an encoder end to end on the labels of the training episodes, under a progress bar, and returns it."""
    assert isinstance(encoder, nn.Module)
    encoder.to(device)
    settings = SupervisedConfig(minutes=minutes, bfloat16=computes_in_bfloat16(device))
    generator = torch.Generator().manual_seed(integer_seed(seed, "supervised"))
    seconds = round(60 * minutes)
    with Progress(seconds, unit="s") as progress:
        for share in train_supervised(encoder, probe, settings, generator=generator):
            progress.update(round(seconds * share))
    return encoder


SUMMARY_TITLES = {
    "f1_mean": "F1",
    "f1_small_objects": "F1, small objects",
    "position_r2_mean": "position R2",
    "knn_f1_mean": "k-NN F1",
    "f1_reward": "F1, reward",
    "f1_action": "F1, action",
}


def scores_table(records: Sequence[ProbeRecord]) -> str:
    """Returns a Markdown table of each encoder's mean scores over seeds, with their standard deviation."""
    names = [name for name in SUMMARY_TITLES if any(name in record.summary for record in records)]
    lines = [
        "| encoder | " + " | ".join(SUMMARY_TITLES[name] for name in names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    for encoder in dict.fromkeys(record.encoder for record in records):
        of_encoder = [record.summary for record in records if record.encoder == encoder]
        cells = [_cell([summary[name] for summary in of_encoder if name in summary]) for name in names]
        lines.append(f"| {encoder} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def write_scores(path: Path, records: Sequence[ProbeRecord], *, settings: Mapping[str, object]) -> Path:
    """Writes all scores as JSON, as a whole or not at all."""
    return write_json(path, {"settings": dict(settings), "scores": [asdict(record) for record in records]})
