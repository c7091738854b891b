"""The upper end of a probe's scale: the same architecture and the same linear classifiers, trained on the labels."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from ..encoders import Encoder
from ..frames import FrameStore
from .labels import LabelledFrames
from .linear_classifiers import ValueTable


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig:
    """How long, and how, an encoder is trained end to end."""

    minutes: float = 5.0
    batch_size: int = 256
    learning_rate: float = 5e-4

    def __post_init__(self) -> None:
        for name in ("minutes", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


def train_supervised(
    encoder: Encoder,
    store: FrameStore,
    train: LabelledFrames,
    config: SupervisedConfig,
    *,
    stack: int,
    generator: torch.Generator,
) -> Iterator[float]:
    """Trains an encoder in place to tell every variable's value, for so many minutes; yields the share that is over.

    Linear classifiers on its features are trained with it and thrown away: the trained encoder is probed as any other.
    """
    assert isinstance(encoder, nn.Module)
    table = ValueTable(train.classes)
    columns = table.columns(train.classes)
    head = nn.Linear(encoder.feature_dim, table.num_columns)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], config.learning_rate, fused=True)
    encoder.train()
    started = time.monotonic()
    share = 0.0
    while share < 1:
        for rows in torch.randperm(len(train), generator=generator).split(config.batch_size):
            stacks = store.stacks(train.indices[rows.numpy()], stack=stack)
            optimizer.zero_grad()
            table.losses(head(encoder(stacks)), columns[rows]).sum().backward()
            optimizer.step()
            share = (time.monotonic() - started) / (60 * config.minutes)
            if share >= 1:
                break
            yield share
    encoder.eval()
