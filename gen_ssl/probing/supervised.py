"""The upper end of a probe's scale: the same architecture and the same linear classifiers, trained on the labels."""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..encoders import Encoder
from ..frames.episode_split import Split
from .encoder_probe import EncoderProbe
from .labels import state_columns
from .linear_classifiers import ValueTable

VALIDATION_EVERY = 0.05  # of the time


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig:
    """How long, and how, an encoder is trained end to end."""

    minutes: float = 5.0
    batch_size: int = 256
    learning_rate: float = 5e-4
    bfloat16: bool = False  # convolutions and products, as methods are pretrained where the processor computes in it

    def __post_init__(self) -> None:
        for name in ("minutes", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


def train_supervised(
    encoder: Encoder, probe: EncoderProbe, config: SupervisedConfig, *, generator: torch.Generator
) -> Iterator[float]:
    """Trains an encoder in place to tell the value of the game's state variables, for so many minutes.

    Yields the share of the time that is over. Linear classifiers on the features are trained with it and thrown away:
    the encoder is probed as any other, as it was where its validation loss was smallest. Action and reward count only
    where there is nothing else, as in the probe's means: under random play they are noise.
    """
    assert isinstance(encoder, nn.Module)
    device = next(encoder.parameters()).device
    variables = state_columns(probe.labels)
    train, validation = (probe.parts[split].classes[:, variables] for split in ("train", "validation"))
    table = ValueTable(train)
    columns, validation_columns = table.columns(train), table.columns(validation)
    head = nn.Linear(encoder.feature_dim, table.num_columns).to(device)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], config.learning_rate, fused=True)

    def losses(split: Split, rows: Int64[Tensor, " b"], wanted: Int64[Tensor, "n v"]) -> Float[Tensor, " v"]:
        stacks = probe.store.stacks(probe.parts[split].indices[rows.numpy()], stack=probe.config.stack).to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.bfloat16):
            logits = head(encoder(stacks))
        return table.losses(logits.float(), wanted[rows].to(device))

    @torch.no_grad()
    def validation_loss() -> float:
        encoder.eval()
        rows = torch.arange(len(validation)).split(config.batch_size)
        total = sum(float(losses("validation", part, validation_columns).sum()) * len(part) for part in rows)
        encoder.train()
        return total / len(validation)

    started, share, looked_at = time.monotonic(), 0.0, 0.0
    best_loss, best = validation_loss(), copy.deepcopy(encoder.state_dict())
    while share < 1:
        for rows in torch.randperm(len(train), generator=generator).split(config.batch_size):
            optimizer.zero_grad()
            losses("train", rows, columns).sum().backward()
            optimizer.step()
            share = (time.monotonic() - started) / (60 * config.minutes)
            if share >= 1 or share - looked_at >= VALIDATION_EVERY:
                looked_at, loss = share, validation_loss()
                if loss < best_loss:
                    best_loss, best = loss, copy.deepcopy(encoder.state_dict())
            if share >= 1:
                break
            yield share
    encoder.load_state_dict(best)
    encoder.eval()
