"""Everything that decides about a run of pretraining."""

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from envs import AtariConfig
from gen_ssl.conditional_vae import Condition
from gen_ssl.contrast import check_several
from gen_ssl.encoders import ENCODER_NAMES, ViT
from gen_ssl.encoders.saving import read_config
from gen_ssl.methods import CONTRASTIVE_METHODS, METHODS
from gen_ssl.patch_masks import num_seen
from gen_ssl.pretraining import PretrainingConfig
from gen_ssl.views import VIEWS

REBUILDING_METHODS = ("autoencoder", "vae", "beta-vae", "conditional-vae")
"""Those with errors of pixels, which can be weighed."""


@dataclass(frozen=True, kw_only=True)
class FramesConfig:
    """Which frames are learned from: a folder of collected ones, or random play that is collected on the way."""

    frames: Path | None = None  # a folder that collect_frames wrote
    game: str = "Pong"  # whose random play is collected, once, where no folder is given
    num_frames: int = 20_000  # of that play
    memory_gigabytes: float = 2.0  # frames that take at most so much are decoded once, others each time

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, got {self.num_frames}")
        if self.frames is None:
            AtariConfig(game=self.game)  # refuses a game that cannot be played, before anything is

    @property
    def label(self) -> str:
        """What is learned from, for names of folders."""
        return self.game if self.frames is None else self.frames.name

    def folder(self, seed: int) -> Path:
        """Returns where the frames are, or will be once they are collected."""
        return self.frames or Path("frames") / f"{self.game}-random-{self.num_frames}-seed-{seed}"


@dataclass(frozen=True, kw_only=True)
class PretrainRunConfig:
    """One run of pretraining."""

    method: str = "st-dim"  # docs/pretraining_methods.md describes each
    encoder: str = "NatureCNN"  # an architecture by name, or the folder of a saved encoder to go on with
    seed: int = 0
    stack: int = 4  # frames a stack is made of
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 where the processor computes in it
    views: str = "default"  # simclr, moco, atc: a shift by at most 2 pixels and a little brightness, or others by name
    masks: Literal["random", "motion"] = "random"  # mae: which patches are hidden
    mask_ratio: float = 0.75  # mae
    pixel_weights: Literal["equal", "motion"] = "equal"  # autoencoder and VAEs: whose errors count
    condition: Condition = "action"  # conditional-vae: what posterior and decoder are told; game: of several games only
    compile: bool = False  # torch.compile the encoder: half a minute at first
    checkpoint_every_steps: int = 500
    pictures_every_steps: int = 500  # views, masks, reconstructions in TensorBoard
    frames: FramesConfig = field(default_factory=FramesConfig)
    pretraining: PretrainingConfig = field(default_factory=PretrainingConfig)

    def __post_init__(self) -> None:
        for name in ("stack", "checkpoint_every_steps", "pictures_every_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if self.views not in VIEWS:
            raise ValueError(f"views must be one of {', '.join(VIEWS)}, got {self.views!r}")
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie between 0 and 1, got {self.mask_ratio}")
        if self.method == "mae":
            self._check_mask()
        if self.method in CONTRASTIVE_METHODS:
            check_several(self.pretraining.batch_size)
        if self.stack < 2:
            self._check_motion()
        if self.frames.frames is None:
            self._check_frame_shape()
        if self.method == "conditional-vae" and self.condition == "game" and self.frames.frames is None:
            raise ValueError(
                "a condition on the game needs frames of at least 2 games: give --frames a folder of them, "
                f"random play is collected of {self.frames.game} alone"
            )

    def _check_mask(self) -> None:
        architecture, arguments = _architecture(self.encoder)
        if architecture not in ("ViT", None):
            raise ValueError(
                f"the method mae needs a ViT, which can leave patches out, got the encoder {self.encoder!r}"
            )
        if self.frames.frames is None and architecture is not None:  # collected frames tell their size when opened
            patch_size = arguments.get("patch_size", inspect.signature(ViT).parameters["patch_size"].default)
            num_seen((AtariConfig().frame_size // patch_size) ** 2, self.mask_ratio)

    def _check_frame_shape(self) -> None:
        """Refuses a saved encoder of other frames than those that would be collected for it."""
        _, arguments = _architecture(self.encoder)
        expected = (self.stack, AtariConfig().frame_size, AtariConfig().frame_size)
        shape = tuple(arguments.get("frame_shape", expected))
        if shape != expected:
            raise ValueError(
                f"the encoder {self.encoder} takes stacks of shape {shape}, the frames to be collected make stacks of "
                f"shape {expected}"
            )

    def _check_motion(self) -> None:
        """Refuses what looks for motion in a stack of one frame."""
        for name, methods in (("masks", ("mae",)), ("pixel_weights", REBUILDING_METHODS)):
            if getattr(self, name) == "motion" and self.method in methods:
                raise ValueError(f"{name} by motion need a stack of at least 2 frames, got {self.stack}")


def _architecture(encoder: str) -> tuple[str | None, dict[str, Any]]:
    """Returns architecture and arguments of an encoder by name or in a folder; None of one that only the Hub knows."""
    if encoder in ENCODER_NAMES:
        return encoder.partition("-")[0], {}
    return read_config(Path(encoder)) if Path(encoder).is_dir() else (None, {})
