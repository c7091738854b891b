"""The vision transformer of Dosovitskiy et al. 2021, for frames of any size and number of channels.

Weights carry the names of `timm` (`patch_embed.proj`, `blocks.0.attn.qkv`, `norm`), the ones under which published ViT
and MAE weights are found, so that these can be loaded; timm itself needs torchvision and is not imported.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from .pixels import scale_pixels
from .saving import read_encoder, save_encoder

Pooling = Literal["class", "mean"]


class ViTSize(NamedTuple):
    """Width, depth and heads of a transformer."""

    embed_dim: int
    depth: int
    num_heads: int


VIT_SIZES = {
    "tiny": ViTSize(192, 12, 3),  # Touvron et al. 2021 (DeiT), table 1
    "small": ViTSize(384, 12, 6),
    "base": ViTSize(768, 12, 12),  # Dosovitskiy et al. 2021, table 1, as all below
    "large": ViTSize(1024, 24, 16),
    "huge": ViTSize(1280, 32, 16),
}
"""The published sizes. A patch of 12 pixels makes 7x7 tokens of a frame of 84x84; the papers take 16, for huge 14."""


class ViT(nn.Module, PyTorchModelHubMixin):
    """Encodes stacks of frames as a sequence of square patches and a class token, by pre-norm attention blocks.

    Positions are learned, and start as the two-dimensional sines and cosines of He et al. 2022 (MAE), which leaves a
    small data set less to learn. Linear layers start as there: Xavier uniform, biases at zero.

    Attributes:
        frame_shape: (channels, height, width) of the frames that `forward` takes.
        feature_dim: length of the vectors that it returns: `embed_dim`.
        patch_size: side of a patch in pixels.
        grid: rows and columns of patches; patch i stands in row i // columns.
    """

    def __init__(
        self,
        frame_shape: tuple[int, int, int] = (4, 84, 84),
        patch_size: int = 12,
        embed_dim: int = 192,
        depth: int = 12,
        num_heads: int = 3,
        pooling: Pooling = "class",
    ) -> None:
        """Builds the network.

        Args:
            frame_shape: (channels, height, width) of the frames.
            patch_size: side of a patch in pixels, a divisor of height and width.
            embed_dim: width of the tokens, a multiple of 4 and of `num_heads`; the hidden layers are four times wider.
            depth: number of blocks.
            num_heads: attention heads of each block.
            pooling: what the features are: the class token, or the mean of the patches' tokens.
        """
        super().__init__()
        _check_patches(frame_shape, patch_size)
        if embed_dim % 4 or embed_dim % num_heads:
            raise ValueError(f"embed_dim must be a multiple of 4 and of num_heads, got {embed_dim} and {num_heads}")
        if pooling not in ("class", "mean"):
            raise ValueError(f"pooling must be 'class' or 'mean', got {pooling!r}")
        channels, height, width = frame_shape
        self.frame_shape = frame_shape
        self.feature_dim = self.embed_dim = embed_dim
        self.patch_size = patch_size
        self.pooling = pooling
        self.grid = (height // patch_size, width // patch_size)
        self.patch_embed = PatchEmbedding(channels, embed_dim, patch_size)
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(sine_cosine_positions(self.grid, embed_dim))
        self.blocks = nn.Sequential(*(ViTBlock(embed_dim, num_heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.apply(_initialise)

    def forward(self, frames: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b feature_dim"]:
        """Returns one vector per stack of frames.

        Raises:
            ValueError: the frames are not uint8, or not of `frame_shape`.
        """
        return self.from_pixels(self._pixels(frames))

    def from_pixels(self, pixels: Float[Tensor, "b c h w"]) -> Float[Tensor, "b feature_dim"]:
        """Returns the vectors of pixels that are numbers from 0 to 1 already, with gradients for them."""
        return self._pool(self._tokens(pixels, keep=None))

    def spatial_features(self, frames: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b f y x"]:
        """Returns the patches' tokens as a map, (b, 192, 7, 7) for 84x84 pixels and the default size.

        Raises:
            ValueError: the frames are not uint8, or not of `frame_shape`.
        """
        return self._map(self.forward_tokens(frames))

    def features_and_map(
        self, frames: UInt8[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b feature_dim"], Float[Tensor, "b f y x"]]:
        """Returns what `forward` and `spatial_features` do, in one pass."""
        tokens = self.forward_tokens(frames)
        return self._pool(tokens), self._map(tokens)

    def forward_tokens(
        self, frames: UInt8[Tensor, "b c h w"], keep: Int64[Tensor, "b kept"] | None = None
    ) -> Float[Tensor, "b tokens d"]:
        """Returns the class token and then those of the patches, after the last norm.

        Args:
            frames: stacks of frames.
            keep: the patches of each stack that are looked at, in the order wanted (He et al. 2022: the encoder of a
                masked autoencoder sees these only); None is all of them.

        Raises:
            ValueError: the frames are not uint8, or not of `frame_shape`.
        """
        return self._tokens(self._pixels(frames), keep)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Writes the encoder as a folder, see `saving.save_encoder`."""
        return save_encoder(self, save_directory, **options)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> "ViT":
        """Returns the encoder saved in a folder or on the Hugging Face Hub, see `saving.read_encoder`."""
        return read_encoder(cls, pretrained_model_name_or_path, **options)

    def _pool(self, tokens: Float[Tensor, "b tokens d"]) -> Float[Tensor, "b d"]:
        return tokens[:, 0] if self.pooling == "class" else tokens[:, 1:].mean(dim=1)

    def _map(self, tokens: Float[Tensor, "b tokens d"]) -> Float[Tensor, "b d y x"]:
        return tokens[:, 1:].mT.reshape(len(tokens), self.embed_dim, *self.grid)

    def _pixels(self, frames: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return scale_pixels(frames, self.frame_shape, self.patch_embed.proj.weight.dtype)

    def _tokens(
        self, pixels: Float[Tensor, "b c h w"], keep: Int64[Tensor, "b kept"] | None
    ) -> Float[Tensor, "b tokens d"]:
        tokens = self.patch_embed(pixels) + self.pos_embed[:, 1:]  # (b, patches, d)
        if keep is not None:
            tokens = tokens.gather(1, keep.unsqueeze(2).expand(-1, -1, tokens.shape[2]))  # (b, kept, d)
        class_token = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        normalised: Tensor = self.norm(self.blocks(torch.cat([class_token, tokens], dim=1)))
        return normalised


class PatchEmbedding(nn.Module):
    """Maps every square patch of a frame to a token, by one linear layer for all of them."""

    def __init__(self, channels: int, embed_dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, pixels: Float[Tensor, "b c h w"]) -> Float[Tensor, "b patches d"]:
        """Returns the tokens row by row."""
        maps: Tensor = self.proj(pixels)
        return maps.flatten(2).mT


class ViTBlock(nn.Module):
    """Adds attention, then a two-layer perceptron, each of its normalised input (Dosovitskiy et al. 2021, eq. 2, 3)."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.attn = ViTAttention(embed_dim, num_heads)
        self.norm2 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.mlp = ViTPerceptron(embed_dim)

    def forward(self, tokens: Float[Tensor, "b tokens d"]) -> Float[Tensor, "b tokens d"]:
        """Returns as many tokens."""
        tokens = tokens + self.attn(self.norm1(tokens))
        changed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return changed


class ViTAttention(nn.Module):
    """Lets every token look at all tokens of its stack, by several heads."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, tokens: Float[Tensor, "b tokens d"]) -> Float[Tensor, "b tokens d"]:
        """Returns as many tokens."""
        shape = (*tokens.shape[:2], 3, self.num_heads, -1)
        parts = self.qkv(tokens).view(shape)  # (b, tokens, 3, heads, d / heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)  # each (b, heads, tokens, d / heads)
        seen = nn.functional.scaled_dot_product_attention(queries, keys, values)
        mixed: Tensor = self.proj(seen.transpose(1, 2).flatten(2))
        return mixed


class ViTPerceptron(nn.Module):
    """Two linear layers with a GELU between them, applied to each token."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, 4 * embed_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * embed_dim, embed_dim)

    def forward(self, tokens: Float[Tensor, "b tokens d"]) -> Float[Tensor, "b tokens d"]:
        """Returns as many tokens."""
        changed: Tensor = self.fc2(self.act(self.fc1(tokens)))
        return changed


def sine_cosine_positions(grid: tuple[int, int], embed_dim: int) -> Float[Tensor, "1 tokens embed_dim"]:
    """Returns the positions of MAE (He et al. 2022, appendix A): zeros for the class token, then each patch's.

    A quarter of the numbers are sines of the column and as many cosines, then the same for the row, at wavelengths from
    2 pi to 10,000 times 2 pi patches.
    """
    rates = 10_000.0 ** -(torch.arange(embed_dim // 4, dtype=torch.float64) / (embed_dim // 4))
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in grid), indexing="ij")
    angles = [positions.reshape(-1, 1) * rates for positions in (columns, rows)]
    patches = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
    return torch.cat([torch.zeros(1, embed_dim, dtype=torch.float64), patches]).float().unsqueeze(0)


def _check_patches(frame_shape: tuple[int, int, int], patch_size: int) -> None:
    _, height, width = frame_shape
    if min(frame_shape) < 1:
        raise ValueError(f"frames need at least one channel and one pixel, got frame_shape {frame_shape}")
    if patch_size < 1 or height % patch_size or width % patch_size:
        dividing = [size for size in range(1, min(height, width) + 1) if height % size == width % size == 0]
        raise ValueError(
            f"patch_size must divide frames of {height}x{width} pixels, which "
            f"{', '.join(map(str, dividing))} do, got {patch_size}"
        )


def _initialise(module: nn.Module) -> None:
    """Draws weights as MAE does; a patch's embedding is drawn as the linear layer that it is."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight.detach().view(len(module.weight), -1))
        assert module.bias is not None
        nn.init.zeros_(module.bias)
