"""Attention from one sequence to another (Vaswani et al. 2017, section 3.2.3): every position reads the whole source.

B is the batch, L the positions that read, M those of the source, H the heads, E the size of a head.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from .attention import head_size


class SourceColumns(NamedTuple):
    """Keys and values of a source, computed once for all positions that read it.

    Attributes:
        keys, values: one vector per head and source position.
        valid: False in what pads a source.
    """

    keys: Float[Tensor, "b h m e"]
    values: Float[Tensor, "b h m e"]
    valid: Bool[Tensor, "b m"]


class CrossAttention(nn.Module):
    """Gives each position a mean of the source's values, within the source's length.

    The source has no positions here: its encoder has put them into its vectors.
    """

    def __init__(self, d_model: int, *, num_heads: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.num_heads = num_heads
        self.head_dim = head_size(d_model, num_heads)
        self.query_proj = nn.Linear(d_model, d_model, bias=False)
        self.source_proj = nn.Linear(d_model, 2 * d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def columns(self, source: Float[Tensor, "b m d"], lengths: Int64[Tensor, " b"]) -> SourceColumns:
        """Returns what `forward` reads of a source whose rows have these lengths, each at least 1."""
        keys, values = self._heads(self.source_proj(source), 2)
        column = torch.arange(source.shape[1], device=source.device)
        return SourceColumns(keys, values, column < lengths.unsqueeze(1))

    def forward(self, x: Float[Tensor, "b l d"], source: SourceColumns) -> Float[Tensor, "b l d"]:
        """Returns what each position reads."""
        (query,) = self._heads(self.query_proj(x), 1)
        heads = scaled_dot_product_attention(query, source.keys, source.values, attn_mask=source.valid[:, None, None])
        output: Tensor = self.out_proj(heads.transpose(1, 2).flatten(2))
        return output

    def _heads(self, projected: Float[Tensor, "b m n"], parts: int) -> tuple[Tensor, ...]:
        """Returns the parts of a projection, (B, H, M, E) each."""
        batch_size, length, _ = projected.shape
        split = projected.view(batch_size, length, parts, self.num_heads, self.head_dim)
        return split.permute(2, 0, 3, 1, 4).unbind()
