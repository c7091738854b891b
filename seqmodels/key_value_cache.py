"""What attention carries from one chunk to the next: keys and values of a row's sequence, and where it stands."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class KeyValueCache(NamedTuple):
    """The keys and values of the positions before the next one, the newest in the last column, for each row.

    Attributes:
        keys: one vector per head and column.
        values: the same.
        valid: False where a column belongs to no position of the row's present sequence.
        next_position: how many positions the present sequence has had, those that were dropped included.
    """

    keys: Float[Tensor, "b h m e"]
    values: Float[Tensor, "b h m e"]
    valid: Bool[Tensor, "b m"]
    next_position: Int64[Tensor, " b"]


class Places(NamedTuple):
    """Where the positions of a chunk stand: r is 1 where all rows agree.

    Attributes:
        position: place in its own sequence, from 0.
        sequence: number of resets in the row so far: equal for positions of the same sequence.
    """

    position: Int64[Tensor, "r l"]
    sequence: Int64[Tensor, "r l"]


def empty_cache(batch_size: int, num_heads: int, num_columns: int, head_dim: int, like: Tensor) -> KeyValueCache:
    """Returns a cache of columns that are not valid, on the device and in the dtype of `like`."""
    nothing = like.new_zeros(batch_size, num_heads, num_columns, head_dim)
    valid = torch.zeros(batch_size, num_columns, dtype=torch.bool, device=like.device)
    position = torch.zeros(batch_size, dtype=torch.int64, device=like.device)
    return KeyValueCache(nothing, nothing.clone(), valid, position)


def places_of(
    length: int, cache: KeyValueCache | None, resets: Bool[Tensor, "b l"] | None, device: torch.device
) -> Places:
    """Returns the places of the `length` positions after the cache; resets restart the count."""
    column = torch.arange(length, device=device).unsqueeze(0)  # (1, L)
    first = torch.zeros(1, 1, dtype=torch.int64, device=device) if cache is None else cache.next_position.unsqueeze(1)
    if resets is None:
        position = first + column
        return Places(position, torch.zeros_like(position))
    # The column in which the present sequence began: before the chunk, at -first, or at the last reset.
    start = torch.where(resets, column, -first).cummax(dim=1).values
    return Places(column - start, resets.cumsum(dim=1))


class KeyColumns(NamedTuple):
    """The cached columns and those of a chunk side by side.

    `sequence` is -1 where a column is not valid; its r is 1 where all rows agree.
    """

    keys: Float[Tensor, "b h m e"]
    values: Float[Tensor, "b h m e"]
    sequence: Int64[Tensor, "r m"]

    def cache(self, places: Places, first: int) -> KeyValueCache:
        """Returns what is carried on: the columns from `first`."""
        batch_size = len(self.keys)
        valid = (self.sequence[:, first:] == places.sequence[:, -1:]).expand(batch_size, -1).contiguous()
        position = (places.position[:, -1] + 1).expand(batch_size).contiguous()
        keys, values = self.keys, self.values
        if first > 0:
            # A copy, because a view would keep what is dropped in memory.
            keys, values = keys[:, :, first:].contiguous(), values[:, :, first:].contiguous()
        return KeyValueCache(keys, values, valid, position)

    def first_needed(self, places: Places) -> int:
        """Returns the first column that belongs to the present sequence of any row."""
        return int((self.sequence == places.sequence[:, -1:]).any(dim=0).int().argmax())


def key_columns(
    cache: KeyValueCache | None, keys: Float[Tensor, "b h l e"], values: Float[Tensor, "b h l e"], places: Places
) -> KeyColumns:
    """Returns the columns of the cache followed by the chunk's."""
    if cache is None:
        return KeyColumns(keys, values, places.sequence)
    cached = torch.where(cache.valid, 0, -1)
    # The chunk's dtype counts: under autocast it is narrower than that of the initial state.
    return KeyColumns(
        torch.cat([cache.keys.to(keys.dtype), keys], dim=2),
        torch.cat([cache.values.to(values.dtype), values], dim=2),
        torch.cat([cached, places.sequence.expand(len(keys), -1)], dim=1),
    )
