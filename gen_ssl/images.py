"""Pictures to look at, from stacks of frames."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def newest_frame(stacks: UInt8[Tensor, "b c h w"]) -> UInt8[Tensor, "b 1 h w"]:
    """Returns the last channel of each stack: of grey frames the newest."""
    return stacks[:, -1:]


def side_by_side(*stacks: UInt8[Tensor, "b c h w"]) -> UInt8[Tensor, "b 1 h wide"]:
    """Returns the newest frames of several batches of stacks beside each other."""
    return torch.cat([newest_frame(part) for part in stacks], dim=3)


def as_pixels(values: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Returns numbers from 0 to 1 as pixels from 0 to 255; those beyond are cut off."""
    wide = values.detach().to(torch.promote_types(values.dtype, torch.float32))
    return (255 * wide).round().clamp(0, 255).to(torch.uint8)
