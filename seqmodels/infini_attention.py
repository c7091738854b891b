"""Infini-attention (Munkhdalai et al. 2024): attention within a segment, and a memory of all segments before it.

B is the batch, L the chunk, H the heads, E the size of a head, S the segment's length, P pieces of rows between resets.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from .attention import head_size
from .carried_state import check_state_fits
from .compressive_memory import Memory, WritingRule
from .positions import RotaryPositions
from .row_pieces import RowPieces, pieces_between


class InfiniState(NamedTuple):
    """The memory of each row's full segments, and the segment that is not full yet.

    Attributes:
        matrix, normaliser: the memory, see `Memory`.
        keys, values: those of the present segment in its first `num_kept` columns, not turned yet.
        num_kept: how many positions the present segment has, less than S.
    """

    matrix: Float[Tensor, "b h e e"]
    normaliser: Float[Tensor, "b h e"]
    keys: Float[Tensor, "b h s e"]
    values: Float[Tensor, "b h s e"]
    num_kept: Int64[Tensor, " b"]


class _Segments(NamedTuple):
    """Pieces laid out so that segments begin at multiples of S; kept columns first, what is missing last."""

    queries: Float[Tensor, "p h n s e"]
    keys: Float[Tensor, "p h n s e"]
    values: Float[Tensor, "p h n s e"]
    first: Int64[Tensor, " p"]  # the column of a piece's first new position
    end: Int64[Tensor, " p"]  # the column after its last


class InfiniAttention(nn.Module):
    """Joins rotary attention within a segment and what a memory of all earlier ones returns, by a gate per head.

    Output = g A_memory + (1 - g) A_local with g = sigmoid(beta) (equation 6); beta starts at 0. Segments count from
    each sequence's start, so chunks of any length give the same numbers. The state does not grow.

    Args:
        d_model: length of the vectors, a multiple of num_heads.
        writing_rule: `linear_rule` or `delta_rule`.
        num_heads: H; each head has E = d_model / H numbers, and a memory of E * E.
        segment_length: S.
    """

    def __init__(
        self, d_model: int, *, writing_rule: WritingRule, num_heads: int = 4, segment_length: int = 64
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.num_heads = num_heads
        self.head_dim = head_size(d_model, num_heads)
        if segment_length < 1:
            raise ValueError(f"segment_length must be at least 1, got {segment_length}")
        self.segment_length = segment_length
        self.writing_rule = writing_rule
        self.rotation = RotaryPositions(self.head_dim)
        self.in_proj = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)
        self.gate_bias = nn.Parameter(torch.zeros(num_heads))

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        *,
        state: InfiniState | None = None,
        resets: Bool[Tensor, "b l"] | None = None,
    ) -> tuple[Float[Tensor, "b l d"], InfiniState]:
        """Returns the outputs and the state after the last position, see `SequenceModel`."""
        batch_size, length, _ = x.shape
        if state is None:
            state = self.initial_state(batch_size)
        else:
            check_state_fits(state, batch_size, self.initial_state(0))
        if resets is None:
            resets = torch.zeros(batch_size, length, dtype=torch.bool, device=x.device)
        pieces = pieces_between(resets)
        segments = self._lay_out(x, state, pieces)
        from_memory, memory = self._read_and_write(segments, state, pieces)
        heads = self._joined(from_memory, self._local(segments)).flatten(2, 3).transpose(1, 2)  # (P, n S, H, E)
        column = torch.arange(heads.shape[1], device=x.device)
        new = (column >= segments.first.unsqueeze(1)) & (column < segments.end.unsqueeze(1))
        # Pieces are in the order of rows and positions, so what is picked out is so too.
        output: Tensor = self.out_proj(heads[new].view(batch_size, length, self.d_model))
        keys, values, num_kept = self._unfinished(segments, pieces)
        return output, InfiniState(memory.matrix[pieces.last], memory.normaliser[pieces.last], keys, values, num_kept)

    def _project(self, x: Float[Tensor, "b l d"]) -> tuple[Tensor, Tensor, Tensor]:
        """Returns queries, keys and values, (B, H, L, E) each."""
        projected = self.in_proj(x).view(*x.shape[:2], 3, self.num_heads, self.head_dim)
        query, keys, values = projected.permute(2, 0, 3, 1, 4)
        return query, keys, values

    def _lay_out(self, x: Float[Tensor, "b l d"], state: InfiniState, pieces: RowPieces) -> _Segments:
        """Returns the segments of every piece: those of a piece that continues begin with the kept columns."""
        size = self.segment_length
        query, keys, values = self._project(x)
        first = torch.where(pieces.continues, state.num_kept[pieces.row], 0)
        end = first + torch.tensor(pieces.lengths, device=x.device)
        num_columns = -(-int(end.max()) // size) * size
        column = torch.arange(num_columns, device=x.device)
        # Columns of a source in which the S kept ones stand before the new ones. What is out of a piece's reach may
        # be any column: it comes after all that is read.
        new_column = size + pieces.start.unsqueeze(1) + column - first.unsqueeze(1)
        index = torch.where(column < first.unsqueeze(1), column, new_column).clamp(max=size + x.shape[1] - 1)

        def lay_out(kept: Tensor, new: Tensor) -> Tensor:
            source = torch.cat([kept.to(new.dtype), new], dim=2)  # (B, H, S + L, E)
            laid_out = source[pieces.row.unsqueeze(1), :, index]  # (P, n S, H, E)
            return laid_out.view(len(index), -1, size, *laid_out.shape[2:]).permute(0, 3, 1, 2, 4)

        return _Segments(
            lay_out(torch.zeros_like(state.keys), query),
            lay_out(state.keys, keys),
            lay_out(state.values, values),
            first,
            end,
        )

    def _local(self, segments: _Segments) -> Float[Tensor, "p h n s e"]:
        """Returns causal attention within each segment."""
        queries, keys, values = (part.transpose(1, 2).flatten(0, 1) for part in segments[:3])  # (P n, H, S, E)
        position = torch.arange(self.segment_length, device=queries.device).unsqueeze(0)
        queries, keys = self.rotation(queries, position), self.rotation(keys, position)
        heads = scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return heads.view(len(segments.first), -1, *heads.shape[1:]).transpose(1, 2)

    def _read_and_write(
        self, segments: _Segments, state: InfiniState, pieces: RowPieces
    ) -> tuple[Float[Tensor, "p h n s e"], Memory]:
        """Returns what each position reads from the memory of earlier segments, and each piece's last memory."""
        continues = pieces.continues.view(-1, 1, 1, 1)
        memory = Memory(
            torch.where(continues, state.matrix[pieces.row], 0.0),
            torch.where(continues.squeeze(-1), state.normaliser[pieces.row], 0.0),
        )
        read = []
        for number in range(segments.queries.shape[2]):
            read.append(memory.read(segments.queries[:, :, number]))
            keys, values = segments.keys[:, :, number], segments.values[:, :, number]
            full = segments.end >= (number + 1) * self.segment_length
            memory = memory.written(keys, values, self.writing_rule, full)
        return torch.stack(read, dim=2), memory

    def _joined(self, from_memory: Float[Tensor, "*b s e"], local: Float[Tensor, "*b s e"]) -> Float[Tensor, "*b s e"]:
        """Returns g A_memory + (1 - g) A_local; the heads are the second axis."""
        gate = self.gate_bias.sigmoid().view(1, -1, *[1] * (local.ndim - 2))
        return gate * from_memory + (1 - gate) * local

    def _unfinished(self, segments: _Segments, pieces: RowPieces) -> tuple[Tensor, Tensor, Int64[Tensor, " b"]]:
        """Returns keys, values and number of positions of the segment in which each row's last piece ends."""
        size = self.segment_length
        end = segments.end[pieces.last]
        num_kept = end % size
        column = torch.arange(size, device=end.device)
        kept = (column < num_kept.unsqueeze(1)).unsqueeze(-1)  # (B, S, 1)
        # Where the last segment is full nothing is kept, and any segment will do.
        number = (end // size).clamp(max=segments.keys.shape[2] - 1)
        keys, values = (
            part[pieces.last, :, number].where(kept.unsqueeze(1), 0.0) for part in (segments.keys, segments.values)
        )
        return keys, values, num_kept

    def initial_state(self, batch_size: int) -> InfiniState:
        """Returns an empty memory and an empty segment."""
        size = self.head_dim
        like = self.in_proj.weight
        return InfiniState(
            like.new_zeros(batch_size, self.num_heads, size, size),
            like.new_zeros(batch_size, self.num_heads, size),
            like.new_zeros(batch_size, self.num_heads, self.segment_length, size),
            like.new_zeros(batch_size, self.num_heads, self.segment_length, size),
            torch.zeros(batch_size, dtype=torch.int64, device=like.device),
        )

    def step(self, x: Float[Tensor, "b d"], state: InfiniState) -> tuple[Float[Tensor, "b d"], InfiniState]:
        """Returns the output at one position, and the state after it."""
        check_state_fits(state, len(x), self.initial_state(0))
        query, key, value = self._project(x.unsqueeze(1))
        place = state.num_kept.unsqueeze(1)  # (B, 1)
        column = torch.arange(self.segment_length, device=x.device).unsqueeze(0)
        here = (column == place).view(len(x), 1, -1, 1)
        keys, values = torch.where(here, key, state.keys), torch.where(here, value, state.values)
        seen = (column <= place).view(len(x), 1, 1, -1)
        local = scaled_dot_product_attention(
            self.rotation(query, place), self.rotation(keys, column), values, attn_mask=seen
        )
        memory = Memory(state.matrix, state.normaliser)
        heads = self._joined(memory.read(query), local)
        num_kept = state.num_kept + 1
        full = num_kept == self.segment_length
        if full.any():
            memory = memory.written(keys, values, self.writing_rule, full)
            num_kept = num_kept.masked_fill(full, 0)
        output: Tensor = self.out_proj(heads.flatten(1))
        return output, InfiniState(memory.matrix.clone(), memory.normaliser.clone(), keys, values, num_kept)

    def state_size(self, length: int) -> int:
        """Returns the numbers of the memory and of one segment: the state does not grow."""
        return self.d_model * (self.head_dim + 1 + 2 * self.segment_length) + 1
