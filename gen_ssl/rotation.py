"""Rotation prediction: by how many quarter turns was the stack turned (Gidaris et al. 2018, "RotNet").

    loss = mean over stacks x and turns r = 0 .. 3 of -log softmax(linear(encoder(x turned r times)))_r      (eq. 2, 3)

In games a score or a bar at the top answers this without a look at the play: `hidden_border` blackens that many pixels
on all four sides alike, so that the blackening itself tells nothing.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from .encoders import Encoder
from .frames.frame_batch import FrameBatch
from .images import newest_frame
from .method import MethodOutput, check_batch

_TURNS = 4


@dataclass(frozen=True, kw_only=True)
class RotationConfig:
    """How much of the frame's border is hidden, in pixels."""

    hidden_border: int = 0

    def __post_init__(self) -> None:
        if self.hidden_border < 0:
            raise ValueError(f"hidden_border must be at least 0, got {self.hidden_border}")


class Rotation(nn.Module):
    """Tells quarter turns of square frames apart; every stack is seen in all four."""

    encoder: Encoder

    def __init__(self, encoder: Encoder, config: RotationConfig) -> None:
        """Builds the linear classifier; raises ValueError for frames that are not square, or hidden altogether."""
        super().__init__()
        _, height, width = encoder.frame_shape
        if height != width:
            raise ValueError(f"rotation prediction needs square frames, got {height}x{width} pixels")
        if 2 * config.hidden_border >= height:
            raise ValueError(
                f"hidden_border must leave something of {height}x{width} pixels, got {config.hidden_border}"
            )
        self.time_offsets = (0,)
        self.encoder = encoder
        self.config = config
        self.classifier = nn.Linear(encoder.feature_dim, _TURNS)

    def forward(self, batch: FrameBatch, generator: torch.Generator) -> MethodOutput:
        """Returns the cross-entropy over all turns; nothing is drawn from the generator."""
        check_batch(batch, self.time_offsets)
        frames = batch.stacks[0]
        turned = all_turns(self._hide_border(frames))
        logits = self.classifier(self.encoder(turned))
        turns = torch.arange(_TURNS, device=frames.device).repeat_interleave(len(frames))
        metrics = {
            "accuracy": (logits.detach().argmax(dim=1) == turns).float().mean(),
            "loss_at_chance": torch.full((), math.log(_TURNS), device=frames.device),
        }
        return MethodOutput(nn.functional.cross_entropy(logits, turns), metrics)

    def pictures(self, batch: FrameBatch, generator: torch.Generator) -> dict[str, UInt8[Tensor, "n colours h w"]]:
        """Returns all turns of the first stack."""
        return {"turns": newest_frame(all_turns(self._hide_border(batch.stacks[0, :1])))}

    def _hide_border(self, frames: UInt8[Tensor, "b c h w"]) -> UInt8[Tensor, "b c h w"]:
        border = self.config.hidden_border
        if border == 0:
            return frames
        hidden = torch.zeros_like(frames)
        hidden[:, :, border:-border, border:-border] = frames[:, :, border:-border, border:-border]
        return hidden


def all_turns(frames: UInt8[Tensor, "b c side side"]) -> UInt8[Tensor, "4*b c side side"]:
    """Returns all stacks unturned, then all turned by one quarter counter-clockwise, by two, and by three."""
    return torch.cat([torch.rot90(frames, turn, (2, 3)) for turn in range(_TURNS)])
