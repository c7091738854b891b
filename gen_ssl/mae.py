"""MAE: a transformer sees some patches of a stack, a small one predicts the pixels of the others (He et al. 2022).

The target of a patch x is (x - mean(x)) / sqrt(var(x) + epsilon), var unbiased; the loss is the squared error, averaged
over the pixels of a patch and over the masked patches.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from .encoders import Encoder, ViT
from .encoders.vit import ViTBlock, sine_cosine_positions
from .frames.frame_batch import FrameBatch
from .images import as_pixels, side_by_side
from .method import MethodOutput, check_batch
from .patch_masks import MaskScores, num_seen, patches_of, pixels_of, random_scores, split_patches


@dataclass(frozen=True, kw_only=True)
class MAEConfig:
    """The mask, the target and the decoder. The decoder's defaults are those of He et al. 2022, table 1."""

    mask_ratio: float = 0.75
    decoder_dim: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16
    # A grey level, squared. The paper's code has 1e-6, a 15th of it: the one pixel of noise in a flat patch, frequent
    # in games and absent from photographs, would be blown up to the size of a sprite.
    epsilon: float = (1 / 255) ** 2

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie between 0 and 1, got {self.mask_ratio}")
        if self.epsilon <= 0:
            raise ValueError(f"epsilon must be positive, got {self.epsilon}")
        if self.decoder_depth < 1:
            raise ValueError(f"decoder_depth must be at least 1, got {self.decoder_depth}")


class MAE(nn.Module):
    """Predicts the pixels of masked patches from the tokens of the others: a masked autoencoder."""

    def __init__(self, encoder: Encoder, config: MAEConfig, *, scores: MaskScores = random_scores) -> None:
        """Builds the decoder; `scores` choose which patches are masked.

        Raises:
            ValueError: the encoder is not a ViT, or the mask would leave nothing to see or to predict.
        """
        super().__init__()
        if not isinstance(encoder, ViT):
            raise ValueError(f"a masked autoencoder needs a ViT, which can leave patches out, got a {_name(encoder)}")
        self.time_offsets = (0,)
        self.encoder: ViT = encoder
        self.config = config
        num_patches = encoder.grid[0] * encoder.grid[1]
        self._num_kept = num_seen(num_patches, config.mask_ratio)
        self._scores = scores
        width = config.decoder_dim
        self.embed = nn.Linear(encoder.embed_dim, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.positions: Tensor
        self.register_buffer("positions", sine_cosine_positions(encoder.grid, width), persistent=False)
        self.blocks = nn.Sequential(*(ViTBlock(width, config.decoder_heads) for _ in range(config.decoder_depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.predict = nn.Linear(width, encoder.patch_size**2 * encoder.frame_shape[0])

    def forward(self, batch: FrameBatch, generator: torch.Generator) -> MethodOutput:
        """Returns the error on the masked patches."""
        check_batch(batch, self.time_offsets)
        frames = batch.stacks[0]
        kept, masked = self._split(frames, generator)
        predictions = self._decode(self.encoder.forward_tokens(frames, kept), kept, masked)
        loss = masked_error(predictions, self._targets(frames), masked)
        return MethodOutput(loss, {})

    def pictures(self, batch: FrameBatch, generator: torch.Generator) -> dict[str, UInt8[Tensor, "n colours h w"]]:
        """Returns stacks, what is seen of them, and what is seen with the rest predicted, side by side."""
        frames = batch.stacks[0]
        shape, side = self.encoder.frame_shape, self.encoder.patch_size
        with torch.no_grad():
            kept, masked = self._split(frames, generator)
            predictions = self._decode(self.encoder.forward_tokens(frames, kept), kept, masked)
            patches = patches_of(frames.to(torch.promote_types(predictions.dtype, torch.float32)) / 255, side)
            mean, deviation = _moments(patches, self.config.epsilon)
            hidden = torch.zeros_like(patches[..., :1]).scatter(1, masked.unsqueeze(2), 1.0)
            seen = patches * (1 - hidden)
            filled = seen + hidden * (mean + deviation * predictions)
        shown = (as_pixels(pixels_of(part, side, shape)) for part in (patches, seen, filled))
        return {"masked_and_reconstructed": side_by_side(*shown)}

    def _split(
        self, frames: UInt8[Tensor, "b c h w"], generator: torch.Generator
    ) -> tuple[Int64[Tensor, "b kept"], Int64[Tensor, "b masked"]]:
        return split_patches(self._scores(frames, self.encoder.patch_size, generator), self._num_kept)

    def _targets(self, frames: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b patches numbers"]:
        pixels = frames.to(torch.promote_types(self.predict.weight.dtype, torch.float32)) / 255
        return normalised_patches(pixels, self.encoder.patch_size, self.config.epsilon)

    def _decode(
        self, tokens: Float[Tensor, "b kept_and_1 d"], kept: Int64[Tensor, "b kept"], masked: Int64[Tensor, "b masked"]
    ) -> Float[Tensor, "b patches numbers"]:
        """Returns a prediction for every patch, from the tokens of the class and of those seen."""
        seen = self.embed(tokens)
        blanks = self.mask_token.to(seen.dtype).expand(len(seen), masked.shape[1], -1)
        # Back into the order of the frame: token i of the sequence belongs to patch order[i].
        order = torch.cat([kept, masked], dim=1).unsqueeze(2).expand(-1, -1, seen.shape[2])
        patches = torch.cat([seen[:, 1:], blanks], dim=1)
        in_place = torch.empty_like(patches).scatter(1, order, patches)
        sequence = torch.cat([seen[:, :1], in_place], dim=1) + self.positions
        predictions: Tensor = self.predict(self.norm(self.blocks(sequence))[:, 1:])
        return predictions


def normalised_patches(
    pixels: Float[Tensor, "b c h w"], patch_size: int, epsilon: float
) -> Float[Tensor, "b patches numbers"]:
    """Returns every patch less its mean, over sqrt(its variance + epsilon)."""
    patches = patches_of(pixels, patch_size)
    mean, deviation = _moments(patches, epsilon)
    return (patches - mean) / deviation


def masked_error(
    predictions: Float[Tensor, "b patches numbers"],
    targets: Float[Tensor, "b patches numbers"],
    masked: Int64[Tensor, "b masked"],
) -> Float[Tensor, ""]:
    """Returns the squared error, averaged over each masked patch and over them; no gradient to the targets."""
    errors = (predictions - targets.detach()).square().mean(dim=2)  # (b, patches)
    return errors.gather(1, masked).mean()


def _moments(patches: Float[Tensor, "b patches numbers"], epsilon: float) -> tuple[Tensor, Tensor]:
    """Returns mean and sqrt(unbiased variance + epsilon) of each patch."""
    # Of a patch of one number there is no unbiased variance.
    correction = min(1, patches.shape[2] - 1)
    variance, mean = torch.var_mean(patches, dim=2, correction=correction, keepdim=True)
    return mean, (variance + epsilon).sqrt()


def _name(encoder: object) -> str:
    return type(encoder).__name__
