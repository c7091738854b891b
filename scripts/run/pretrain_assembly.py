"""Builds what a run of pretraining is made of from its configuration: devices, frames, encoder, method, loop."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from gen_ssl.encoders import Encoder
from gen_ssl.frames import FrameBatch, FrameSampler, FrameStore
from gen_ssl.gather import gather_by, keep_rows
from gen_ssl.method import Method
from gen_ssl.methods import MethodParts, make_method
from gen_ssl.motion import MotionWeights
from gen_ssl.patch_masks import MotionScores, random_scores
from gen_ssl.pretraining import Pretraining
from gen_ssl.probing import EncoderProbe
from gen_ssl.reconstruction import equal_weights
from gen_ssl.views import make_views

from .devices import check_device_count, computes_in_bfloat16
from .pretrain_config import FramesConfig, PretrainRunConfig
from .pretrain_probe import build_probe, knn_score
from .seeding import integer_seed
from .starting_encoder import build_encoder, keep_encoder, kept_encoder

INITIAL_ENCODER = "initial_encoder"  # the folder of a run with the saved encoder that it began with
SHOWN_FRAMES = 256  # stacks that are held out to look for collapse, and to show


def build_fabric(config: PretrainRunConfig, device: torch.device, *, devices: int = 1, num_nodes: int = 1) -> Fabric:
    """Returns a launched Fabric on `devices` devices of this kind on each of `num_nodes` machines.

    Raises ValueError where the samples of a batch cannot be shared evenly among them, or there are fewer GPUs.
    """
    if devices < 1 or num_nodes < 1 or config.pretraining.batch_size % (devices * num_nodes):
        raise ValueError(
            f"batch_size must be a multiple of all devices, got {config.pretraining.batch_size} samples for "
            f"{devices} devices on {num_nodes} nodes"
        )
    check_device_count(device, devices)
    bfloat16 = config.precision == "bfloat16" or (config.precision == "auto" and computes_in_bfloat16(device))
    fabric = Fabric(
        accelerator=device.type,
        devices=devices,
        num_nodes=num_nodes,
        strategy="ddp" if devices * num_nodes > 1 else "auto",
        precision="bf16-mixed" if bfloat16 else "32-true",
    )
    fabric.launch()
    return fabric


def build_stack_encoder(name: str, frame_shape: tuple[int, int, int]) -> Encoder:
    """Returns a new encoder of the named architecture, or the saved one of that folder or Hub repository.

    Raises ValueError where a saved encoder takes stacks of another shape.
    """
    encoder = build_encoder(name, frame_shape)
    if encoder.frame_shape != frame_shape:
        raise ValueError(
            f"the encoder {name} takes stacks of shape {encoder.frame_shape}, the frames in store make "
            f"stacks of shape {frame_shape}"
        )
    return encoder


def keep_initial_encoder(config: PretrainRunConfig, run: Path) -> None:
    """Copies the saved encoder that a run begins with into the run's folder, unless it is there already."""
    keep_encoder(config.encoder, run / INITIAL_ENCODER)


def with_initial_encoder(config: PretrainRunConfig, run: Path) -> PretrainRunConfig:
    """Returns a run's configuration with its own copy of the encoder it began with."""
    return replace(config, encoder=kept_encoder(config.encoder, run / INITIAL_ENCODER))


def open_frames(folder: Path, *, memory_gigabytes: float = FramesConfig.memory_gigabytes) -> FrameStore:
    """Returns the store of a folder, its frames decoded into memory if they take at most so much of it."""
    store = FrameStore.open(folder)
    if len(store) * math.prod(store.frame_shape) <= 1e9 * memory_gigabytes:
        store.preload()
    return store


def build_method(config: PretrainRunConfig, store: FrameStore, fabric: Fabric) -> nn.Module:
    """Returns the method around an encoder for stacks of these frames; seeds PyTorch's generator for their weights."""
    torch.manual_seed(integer_seed(config.seed, "weights"))
    channels, height, width = store.frame_shape
    encoder = build_stack_encoder(config.encoder, (config.stack * channels, height, width))
    parts = MethodParts(
        views=make_views(config.views),
        gather=gather_by(fabric.all_gather) if fabric.world_size > 1 else keep_rows,
        pixel_weights=MotionWeights() if config.pixel_weights == "motion" else equal_weights,
        mask_scores=MotionScores() if config.masks == "motion" else random_scores,
        mask_ratio=config.mask_ratio,
        condition=config.condition,
        num_games=len(store.games),
        num_actions=store.num_actions,
    )
    return make_method(config.method, encoder, parts=parts)


def build_sampler(
    config: PretrainRunConfig, store: FrameStore, time_offsets: tuple[int, ...], fabric: Fabric
) -> FrameSampler:
    """Returns the batches of this process."""
    return FrameSampler(
        store,
        split="train",
        time_offsets=time_offsets,
        stack=config.stack,
        batch_size=config.pretraining.batch_size,
        seed=integer_seed(config.seed, "sampling"),
        rank=fabric.global_rank,
        num_ranks=fabric.world_size,
    )


def held_out_batch(config: PretrainRunConfig, store: FrameStore, time_offsets: tuple[int, ...]) -> FrameBatch:
    """Returns frames that are not learned from, always the same: as many as there are, up to SHOWN_FRAMES."""
    arguments: dict[str, Any] = {"split": "validation", "time_offsets": time_offsets, "stack": config.stack}
    seed = integer_seed(config.seed, "held out")
    available = FrameSampler(store, batch_size=1, seed=seed, **arguments).num_positions
    return FrameSampler(store, batch_size=min(SHOWN_FRAMES, available), seed=seed, **arguments).batch(0)


@dataclass(frozen=True, kw_only=True)
class PretrainingParts:
    """A run that has not begun, and what it learns from."""

    pretraining: Pretraining
    store: FrameStore
    held_out: FrameBatch
    probe: EncoderProbe | None


def _compile_body(encoder: Encoder) -> None:
    """Compiles what all passes of an encoder go through: a method may use its map or its tokens alone."""
    bodies = [getattr(encoder, name) for name in ("convolutions", "blocks") if hasattr(encoder, name)]
    if not bodies:
        name = type(encoder).__name__
        raise ValueError(f"{name} has neither convolutions nor blocks to compile: leave --compile out")
    for body in bodies:
        body.compile()


def build_parts(config: PretrainRunConfig, folder: Path, fabric: Fabric, *, watched: bool = True) -> PretrainingParts:
    """Returns a run on the frames of `folder`; not `watched`, it is neither probed nor looked at for a collapse."""
    store = open_frames(folder, memory_gigabytes=config.frames.memory_gigabytes)
    method = build_method(config, store, fabric)
    assert isinstance(method, Method)
    if config.compile:
        _compile_body(method.encoder)
    held_out = held_out_batch(config, store, method.time_offsets)
    probe = build_probe(store, stack=config.stack) if watched else None
    pretraining = Pretraining(
        method=method,
        sampler=build_sampler(config, store, method.time_offsets, fabric),
        config=config.pretraining,
        fabric=fabric,
        seed=integer_seed(config.seed, "views"),
        held_out=held_out.stacks[0] if watched else None,
        knn=None if probe is None else knn_score(probe),
    )
    return PretrainingParts(pretraining=pretraining, store=store, held_out=held_out, probe=probe)
