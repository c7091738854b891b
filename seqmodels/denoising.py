"""The noise whose removal BART is trained on (Lewis et al. 2020, section 2.2): masking, deletion, infilling of tokens.

Functions of rows of tokens, padded on the right with 0, and their lengths. The target is the row without noise.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

_MEAN_SPAN = 3.0  # Lewis et al. 2020, section 2.2, "Text Infilling"


class NoisyRows(NamedTuple):
    """Rows of tokens and how many of them are not padding, at least 1 each."""

    tokens: Int64[Tensor, "b m"]
    lengths: Int64[Tensor, " b"]


def mask_tokens(
    tokens: Int64[Tensor, "b l"],
    lengths: Int64[Tensor, " b"],
    *,
    share: float,
    mask_token: int,
    generator: torch.Generator,
) -> NoisyRows:
    """Returns the rows with each token the mask, with probability `share`."""
    chosen = _drawn(tokens, share, generator) & _inside(tokens, lengths)
    return NoisyRows(tokens.masked_fill(chosen, mask_token), lengths)


def delete_tokens(
    tokens: Int64[Tensor, "b l"], lengths: Int64[Tensor, " b"], *, share: float, generator: torch.Generator
) -> NoisyRows:
    """Returns the rows without each token, with probability `share`: where one is missing is for the model to find.

    A row that would lose all its tokens keeps its first.
    """
    kept = ~_drawn(tokens, share, generator) & _inside(tokens, lengths)
    kept[:, 0] |= ~kept.any(dim=1)
    rows = [row[keep] for row, keep in zip(tokens, kept, strict=True)]
    return NoisyRows(pad_sequence(rows, batch_first=True), kept.sum(dim=1))


def infill_tokens(
    tokens: Int64[Tensor, "b l"],
    lengths: Int64[Tensor, " b"],
    *,
    share: float,
    mask_token: int,
    generator: torch.Generator,
) -> NoisyRows:
    """Returns the rows with spans of tokens each replaced by one mask; the spans hold `share` of a row together.

    Their lengths are Poisson of mean 3; one of length 0 inserts a mask. The last is cut so that the share is met.
    """
    rows = [
        _infill(row[:length], round(share * length), mask_token, generator)
        for row, length in zip(tokens, lengths.tolist(), strict=True)
    ]
    return NoisyRows(pad_sequence(rows, batch_first=True), lengths.new_tensor([len(row) for row in rows]))


def _infill(
    row: Int64[Tensor, " l"], num_hidden: int, mask_token: int, generator: torch.Generator
) -> Int64[Tensor, " m"]:
    """Returns the row with `num_hidden` of its tokens in spans, at uniformly drawn places among the others."""
    spans: list[int] = []
    while (missing := num_hidden - sum(spans)) > 0:
        drawn = torch.poisson(torch.tensor(_MEAN_SPAN, device=row.device), generator=generator)
        spans.append(min(int(drawn), missing))
    num_items = len(row) - num_hidden + len(spans)  # kept tokens and spans, in an order yet to be drawn
    size = torch.ones(num_items, dtype=torch.int64, device=row.device)
    place = torch.randperm(num_items, generator=generator, device=row.device)[: len(spans)]
    size[place] = torch.tensor(spans, dtype=torch.int64, device=row.device)
    # A span of no token at the row's end begins after its last: what it begins with is not read.
    begin = (size.cumsum(0) - size).clamp(max=len(row) - 1)
    items = row[begin]
    items[place] = mask_token
    return items


def _drawn(tokens: Int64[Tensor, "b l"], share: float, generator: torch.Generator) -> Bool[Tensor, "b l"]:
    drawn: Float[Tensor, "b l"] = torch.rand(tokens.shape, generator=generator, device=tokens.device)
    return drawn < share


def _inside(tokens: Int64[Tensor, "b l"], lengths: Int64[Tensor, " b"]) -> Bool[Tensor, "b l"]:
    column = torch.arange(tokens.shape[1], device=tokens.device)
    return column < lengths.unsqueeze(1)
