"""Everything that decides about a run of pretraining."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from envs import AtariConfig
from gen_ssl.conditional_vae import Condition
from gen_ssl.contrast import check_several
from gen_ssl.encoders import ENCODER_NAMES
from gen_ssl.encoders.saving import read_config
from gen_ssl.methods import CONTRASTIVE_METHODS, METHODS
from gen_ssl.pretraining import PretrainingConfig
from gen_ssl.views import VIEWS


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
        if self.encoder not in ENCODER_NAMES and not Path(self.encoder).exists() and "/" not in self.encoder:
            raise ValueError(
                f"encoder must be one of {', '.join(ENCODER_NAMES)} or the folder of a saved encoder, "
                f"got {self.encoder!r}"
            )
        if self.method == "mae" and _architecture(self.encoder) not in ("ViT", None):
            raise ValueError(
                f"the method mae needs a ViT, which can leave patches out, got the encoder {self.encoder!r}"
            )
        if self.method in CONTRASTIVE_METHODS:
            check_several(self.pretraining.batch_size)


def _architecture(encoder: str) -> str | None:
    """Returns the architecture of an encoder by name or in a folder; None of one that only the Hub knows."""
    if encoder in ENCODER_NAMES:
        return encoder.partition("-")[0]
    return read_config(Path(encoder))[0] if Path(encoder).is_dir() else None
