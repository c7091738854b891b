"""Causal multi-head attention (Vaswani et al. 2017), with positions as parts, a carried key-value cache and a window.

B is the batch, L the chunk, M the cached columns and the chunk's, H the heads, E the size of a head, W the window.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from .carried_state import check_state_fits
from .key_value_cache import KeyColumns, KeyValueCache, Places, empty_cache, key_columns, places_of
from .positions import PositionEmbedding, RotaryPositions, ScoreBias, key_distances

_SCORES_AT_ONCE = 2**23  # pairs of a query and a key, over rows and heads, for which mask and bias are held
_PADDING = -2  # the sequence number of columns that only fill up a block: no position's


def head_size(d_model: int, num_heads: int) -> int:
    """Returns d_model / num_heads; raises ValueError where there is no head, or the quotient is not whole."""
    if num_heads < 1:
        raise ValueError(f"num_heads must be at least 1, got {num_heads}")
    if d_model % num_heads != 0:
        raise ValueError(f"d_model must be a multiple of num_heads, got {d_model} and {num_heads}")
    return d_model // num_heads


class Attention(nn.Module):
    """Mixes positions by softmax(q k / sqrt(E)) v over each position and those before it in its sequence.

    With no position part, the order of earlier positions is unknown to a single layer ("NoPE", Kazemnejad et al. 2023).

    Args:
        d_model: length of the vectors, a multiple of num_heads.
        num_heads: H; each head has E = d_model / H numbers.
        embedding: gives a vector per position, added to the input; here and not only to the stack's, so that a mixer
            alone keeps the contract.
        rotation: turns queries and keys by their positions.
        bias: adds to the scores.
        window: where given, a position sees itself and the window - 1 before it, in time and memory linear in L.
    """

    def __init__(
        self,
        d_model: int,
        *,
        num_heads: int = 4,
        embedding: PositionEmbedding | None = None,
        rotation: RotaryPositions | None = None,
        bias: ScoreBias | None = None,
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.num_heads = num_heads
        self.head_dim = head_size(d_model, num_heads)
        if window is not None and window < 1:
            raise ValueError(f"window must be at least 1, got {window}")
        self.embedding = embedding
        self.rotation = rotation
        self.bias = bias
        self.window = window
        self.in_proj = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        *,
        state: KeyValueCache | None = None,
        resets: Bool[Tensor, "b l"] | None = None,
    ) -> tuple[Float[Tensor, "b l d"], KeyValueCache]:
        """Returns the outputs and the cache after the last position, see `SequenceModel`."""
        batch_size, length, _ = x.shape
        if state is not None:
            check_state_fits(state, batch_size, self.initial_state(0))
            if self.window is None and state.keys.shape[2] == 0:
                state = None  # only a sequence's start has no column, and without a state there is a faster way
        places = places_of(length, state, resets, x.device)
        query, keys, values = self._project(x, places)  # (B, H, L, E) each
        whole = state is None and resets is None and self.bias is None
        if state is None and self.window is not None:
            state = self.initial_state(batch_size)  # its columns stand for what is not there
        columns = key_columns(state, keys, values, places)
        if whole and (self.window is None or length <= self.window):
            heads = scaled_dot_product_attention(query, keys, values, is_causal=True)
        elif self.window is None:
            heads = self._attend_by_queries(query, columns, places.sequence)
        else:
            heads = self._attend_in_blocks(query, columns, places.sequence, self.window)
        if self.window is not None:
            first = columns.keys.shape[2] - (self.window - 1)
        else:
            # Where resets come, what no row needs any more is dropped: the cache would grow for ever.
            first = 0 if resets is None else columns.first_needed(places)
        output: Tensor = self.out_proj(heads.transpose(1, 2).flatten(2))
        return output, columns.cache(places, first)

    def _project(self, x: Float[Tensor, "b l d"], places: Places) -> tuple[Tensor, Tensor, Tensor]:
        """Returns queries, keys and values with their positions in them, (B, H, L, E) each."""
        if self.embedding is not None:
            x = x + self.embedding(places.position).to(x.dtype)
        projected = self.in_proj(x).view(*x.shape[:2], 3, self.num_heads, self.head_dim)
        query, keys, values = projected.permute(2, 0, 3, 1, 4)
        if self.rotation is not None:
            query, keys = self.rotation(query, places.position), self.rotation(keys, places.position)
        return query, keys, values

    def _attend(
        self, query: Float[Tensor, "b h l e"], columns: KeyColumns, sequence: Int64[Tensor, "r l"]
    ) -> Float[Tensor, "b h l e"]:
        """Returns each query's mean of the values up to its own column, of its sequence and within the window."""
        keys, values, key_sequence = columns
        distance = key_distances(query.shape[2], keys.shape[2], query.device)
        near = distance >= 0
        if self.window is not None:
            near &= distance < self.window
        allowed = near & (sequence.unsqueeze(2) == key_sequence.unsqueeze(1))  # (r, L, M)
        mask = allowed.unsqueeze(1)
        if self.bias is not None:
            mask = self.bias(query, keys).to(query.dtype).masked_fill(~mask, -torch.inf)  # (1 or B, H, L, M)
        return scaled_dot_product_attention(query, keys, values, attn_mask=mask)

    def _attend_by_queries(
        self, query: Float[Tensor, "b h l e"], columns: KeyColumns, sequence: Int64[Tensor, "r l"]
    ) -> Float[Tensor, "b h l e"]:
        """Does the same, some queries at a time where the scores are many: no mask or bias of all pairs is held.

        Nor is it kept for the gradient, for which each block of queries is computed again.
        """
        batch_size, num_heads, length, _ = query.shape
        num_keys = columns.keys.shape[2]
        block = max(_SCORES_AT_ONCE // max(batch_size * num_heads * num_keys, 1), 1)
        if block >= length:
            return self._attend(query, columns, sequence)
        heads = []
        for begin in range(0, length, block):
            end = min(begin + block, length)
            seen = num_keys - length + end
            part = KeyColumns(columns.keys[:, :, :seen], columns.values[:, :, :seen], columns.sequence[:, :seen])
            given = (query[:, :, begin:end], part, sequence[:, begin:end])
            if torch.is_grad_enabled():
                heads.append(checkpoint(self._attend, *given, use_reentrant=False, preserve_rng_state=False))
            else:
                heads.append(self._attend(*given))
        return torch.cat(heads, dim=2)

    def _attend_in_blocks(
        self, query: Float[Tensor, "b h l e"], columns: KeyColumns, sequence: Int64[Tensor, "r l"], window: int
    ) -> Float[Tensor, "b h l e"]:
        """Does the same for a window, block by block: no block needs more than the W - 1 columns before it.

        The blocks of a row stand as rows of a larger batch. `columns` are the W - 1 of the cache and the chunk's.
        """
        batch_size, _, length, _ = query.shape
        block = min(window, length)
        missing = -length % block
        reach = window - 1 + block

        def blocks(heads: Tensor, size: int) -> Tensor:
            cut = pad(heads, (0, 0, 0, missing)).unfold(2, size, block)  # (B, H, blocks, E, size)
            return cut.permute(0, 2, 1, 4, 3).flatten(0, 1)  # (B * blocks, H, size, E)

        def number_blocks(numbers: Tensor, size: int) -> Tensor:
            return pad(numbers, (0, missing), value=_PADDING).unfold(1, size, block).flatten(0, 1)

        cut_columns = KeyColumns(
            blocks(columns.keys, reach), blocks(columns.values, reach), number_blocks(columns.sequence, reach)
        )
        cut_sequence = number_blocks(sequence.expand(batch_size, -1), block)
        heads = self._attend(blocks(query, block), cut_columns, cut_sequence)  # (B * blocks, H, block, E)
        heads = heads.reshape(batch_size, -1, *heads.shape[1:]).transpose(1, 2).flatten(2, 3)
        return heads[:, :, :length]

    def initial_state(self, batch_size: int) -> KeyValueCache:
        """Returns a cache of no column, or of window - 1 that are not valid."""
        num_columns = 0 if self.window is None else self.window - 1
        return empty_cache(batch_size, self.num_heads, num_columns, self.head_dim, self.in_proj.weight)

    def step(self, x: Float[Tensor, "b d"], state: KeyValueCache) -> tuple[Float[Tensor, "b d"], KeyValueCache]:
        """Returns the output at one position, and the cache after it."""
        output, state = self(x.unsqueeze(1), state=state)
        return output.squeeze(1), state

    def state_size(self, length: int) -> int:
        """Returns the numbers in the cache of a row: keys, values and flags of each column, and the position."""
        num_columns = length if self.window is None else self.window - 1
        return num_columns * (2 * self.d_model + 1) + 1
