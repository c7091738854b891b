"""Which patches of a stack a masked autoencoder sees."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from .motion import moving_pixels
from .views.drawing import draw_uniform

MaskScores = Callable[[UInt8[Tensor, "b c h w"], int, torch.Generator], Float[Tensor, "b patches"]]
"""From stacks and the side of a patch to one number per patch, row by row: the patches of the largest are masked."""


def random_scores(
    frames: UInt8[Tensor, "b c h w"], patch_size: int, generator: torch.Generator
) -> Float[Tensor, "b patches"]:
    """Masks every set of patches with the same probability (He et al. 2022, section 3)."""
    batch_size, _, height, width = frames.shape
    scores = draw_uniform((batch_size, (height // patch_size) * (width // patch_size)), generator)
    return scores.to(frames.device)


class MotionScores:
    """Masks patches in which something moves before those in which nothing does (Huang et al. 2023, MGM, in its idea).

    `emphasis` 0 is random masking; at 1, no still patch is masked while a moving one is seen.
    """

    def __init__(self, emphasis: float = 0.5) -> None:
        if not 0 <= emphasis <= 1:
            raise ValueError(f"emphasis must lie between 0 and 1, got {emphasis}")
        self.emphasis = emphasis

    def __call__(
        self, frames: UInt8[Tensor, "b c h w"], patch_size: int, generator: torch.Generator
    ) -> Float[Tensor, "b patches"]:
        """Returns the scores; raises ValueError for stacks of one frame, in which no motion can be seen."""
        moving = patches_of(moving_pixels(frames), patch_size).amax(dim=2)  # (b, patches)
        return random_scores(frames, patch_size, generator) + self.emphasis * moving


def patches_of(pixels: Float[Tensor, "b c h w"], patch_size: int) -> Float[Tensor, "b patches numbers"]:
    """Returns the pixels of each patch in the layout of the paper's code: patch row by row, then y, x, channel."""
    batch_size, channels, height, width = pixels.shape
    rows, columns = height // patch_size, width // patch_size
    cut = pixels.view(batch_size, channels, rows, patch_size, columns, patch_size)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch_size, rows * columns, patch_size**2 * channels)


def pixels_of(
    patches: Float[Tensor, "b patches numbers"], patch_size: int, frame_shape: tuple[int, int, int]
) -> Float[Tensor, "b c h w"]:
    """Returns the frames that `patches_of` was given."""
    channels, height, width = frame_shape
    rows, columns = height // patch_size, width // patch_size
    cut = patches.view(len(patches), rows, columns, patch_size, patch_size, channels)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), channels, height, width)


def split_patches(
    scores: Float[Tensor, "b patches"], num_kept: int
) -> tuple[Int64[Tensor, "b kept"], Int64[Tensor, "b masked"]]:
    """Returns the indices of the patches that are seen, those of the smallest scores, and of the masked ones."""
    order = scores.argsort(dim=1)
    return order[:, :num_kept], order[:, num_kept:]


def num_seen(num_patches: int, mask_ratio: float) -> int:
    """Returns int(patches * (1 - ratio)), as the paper's code; raises ValueError when all or none would be seen."""
    kept = int(num_patches * (1 - mask_ratio))
    if not 0 < kept < num_patches:
        raise ValueError(
            f"mask_ratio must leave at least 1 of {num_patches} patches to see and 1 to predict, "
            f"got {mask_ratio}, which leaves {kept} to see"
        )
    return kept
