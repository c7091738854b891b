"""How attention knows where a position stands: parts that are added to its inputs, turn its heads, or bias its scores.

E is the size of a head. A position counts from 0 at each sequence's start; what depends on distances only needs none,
because the columns of a key-value cache stand side by side.
"""

import math
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

_BASE = 10_000.0  # Vaswani et al. 2017, section 3.5; Su et al. 2021, section 3.2.2


@runtime_checkable
class PositionEmbedding(Protocol):
    """Gives each position a vector, which attention adds to its input there."""

    def __call__(self, position: Int64[Tensor, "b l"]) -> Float[Tensor, "b l d"]: ...


@runtime_checkable
class ScoreBias(Protocol):
    """Gives each pair of query and key a number, which attention adds to its scaled score.

    The queries stand at the last l of the m columns. What a pair with the key after the query gets is not read.
    """

    def __call__(
        self, query: Float[Tensor, "b h l e"], keys: Float[Tensor, "b h m e"]
    ) -> Float[Tensor, "b_or_1 h l m"]: ...


def _angles(position: Tensor, size: int) -> Tensor:
    """Returns position * 10000^(-2i / size) for i < size / 2, along a new last axis.

    In float64, because the angles of far positions have no digits left in float32.
    """
    index = torch.arange(0, size, 2, dtype=torch.float64, device=position.device)
    return position.unsqueeze(-1) * torch.exp(index * (-math.log(_BASE) / size))


def sinusoids(position: Int64[Tensor, "*shape"], size: int, dtype: torch.dtype) -> Float[Tensor, "*shape size"]:
    """Returns sin(position / 10000^(2i / size)) at place 2i and the cosine at 2i + 1 (Vaswani et al. 2017)."""
    angles = _angles(position, size)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)[..., :size].to(dtype)


class SinusoidalPositions(nn.Module):
    """Fixed sines and cosines (Vaswani et al. 2017, section 3.5), for any length."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    def forward(self, position: Int64[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        """Returns the vectors, in float64."""
        return sinusoids(position, self.d_model, torch.float64)


class LearnedPositions(nn.Module):
    """One learned vector for each position below `max_length`, drawn from N(0, 1)."""

    def __init__(self, d_model: int, *, max_length: int) -> None:
        super().__init__()
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1, got {max_length}")
        self.max_length = max_length
        # PyTorch draws the table from N(0, 1): as long as the output of a norm, to which it is added. In GPT tokens and
        # positions are both from N(0, 0.02) (Radford et al. 2018): so small here alone, positions would not be seen.
        self.embedding = nn.Embedding(max_length, d_model)

    def forward(self, position: Int64[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        """Returns the vectors.

        Raises:
            ValueError: a sequence, with what came before the carried state, is longer than `max_length`.
        """
        length = int(position.max()) + 1
        if length > self.max_length:
            raise ValueError(
                f"there are learned positions for sequences of at most {self.max_length}, got one of {length}, "
                "the positions of the carried state included"
            )
        vectors: Tensor = self.embedding(position)
        return vectors


class RotaryPositions:
    """Turns each pair (2i, 2i + 1) of a head by position * 10000^(-2i / E) (Su et al. 2021, equation 34).

    Queries and keys turned so have a dot product that depends on their distance only.
    """

    def __init__(self, head_dim: int) -> None:
        if head_dim % 2 != 0:
            raise ValueError(f"rotary positions turn pairs, so the size of a head must be even, got {head_dim}")
        self.head_dim = head_dim

    def __call__(
        self, heads: Float[Tensor, "b h l e"], position: Int64[Tensor, "b_or_1 l"]
    ) -> Float[Tensor, "b h l e"]:
        angles = _angles(position, self.head_dim).unsqueeze(1)  # (B, 1, L, E/2)
        cos, sin = angles.cos().to(heads.dtype), angles.sin().to(heads.dtype)
        even, odd = heads[..., 0::2], heads[..., 1::2]
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


class AlibiBias(nn.Module):
    """Takes slope * distance off each score, with a fixed slope per head (Press et al. 2022, section 3).

    The slopes of n heads are 2^(-8/n), 2^(-16/n), ...; where n is no power of two, those of the next lower power and,
    between them, of the next higher one, as in the paper's code.
    """

    slopes: Tensor

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        power = 2 ** int(math.log2(num_heads))
        slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
        slopes += [2 ** (-4 * (2 * i + 1) / power) for i in range(num_heads - power)]
        self.register_buffer("slopes", torch.tensor(slopes), persistent=False)

    def forward(self, query: Float[Tensor, "b h l e"], keys: Float[Tensor, "b h m e"]) -> Float[Tensor, "1 h l m"]:
        """Returns -slope * (place of the query - place of the key)."""
        distance = key_distances(query.shape[2], keys.shape[2], query.device)
        return (-self.slopes.to(query.dtype).view(1, -1, 1, 1)) * distance


class TransformerXLBias(nn.Module):
    """The terms b, c and d of Transformer-XL's score (Dai et al. 2019, section 3.3), over sqrt(E).

    (q_i + u) k_j + (q_i + v) W R_(i-j), less the q_i k_j that attention computes itself. R holds sinusoids of the
    distance; u and v, one vector per head each, start at 0.
    """

    def __init__(self, d_model: int, *, num_heads: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.num_heads = num_heads
        head_dim = d_model // num_heads
        self.distance_proj = nn.Linear(d_model, d_model, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(num_heads, head_dim))
        self.distance_bias = nn.Parameter(torch.zeros(num_heads, head_dim))

    def forward(self, query: Float[Tensor, "b h l e"], keys: Float[Tensor, "b h m e"]) -> Float[Tensor, "b h l m"]:
        """Returns the three terms of each pair."""
        num_keys, head_dim = keys.shape[2:]
        distance = torch.arange(num_keys - 1, -1, -1, device=query.device)
        table = self.distance_proj(sinusoids(distance, self.d_model, query.dtype))  # (M, D), farthest first
        table = table.view(num_keys, self.num_heads, head_dim).permute(1, 2, 0)  # (H, E, M)
        # Scaled while small: what has an entry per pair is large.
        scale = 1 / math.sqrt(head_dim)
        by_distance = _shift(((query + self.distance_bias.unsqueeze(1)) * scale) @ table)  # (B, H, L, M)
        by_content = (self.content_bias * scale).unsqueeze(1) @ keys.transpose(-1, -2)  # (B, H, 1, M)
        return by_distance + by_content


def _shift(by_distance: Float[Tensor, "b h l m"]) -> Float[Tensor, "b h l m"]:
    """Moves row t to the left by l - 1 - t, so that the column is the key's, no longer the distance's.

    A column of zeros and a view with rows one longer do it without an index (Dai et al. 2019, appendix B). What comes
    in from the right belongs to keys after the query.
    """
    b, h, length, num_keys = by_distance.shape
    padded = nn.functional.pad(by_distance, (1, 0)).view(b, h, num_keys + 1, length)
    return padded[:, :, 1:].reshape(b, h, length, num_keys)


def key_distances(num_queries: int, num_keys: int, device: torch.device) -> Int64[Tensor, "l m"]:
    """Returns how many places each key is before each query, where the queries are the last columns; < 0 is after."""
    column = torch.arange(num_keys, device=device)
    return column[num_keys - num_queries :, None] - column
