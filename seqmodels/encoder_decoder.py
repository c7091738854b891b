"""From one sequence to another (Vaswani et al. 2017): an encoder reads the source, a decoder writes the target."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from .carried_state import check_state_fits
from .cross_attention import CrossAttention, SourceColumns
from .residual_block import Norm, ResidualBlock
from .residual_stack import StackState, blocks_of, common_width
from .sequence_encoder import SequenceEncoder
from .sequence_model import SequenceModel


class WritingState(NamedTuple):
    """Where the decoder stands: what it reads of the source, per block, and what its mixers carry."""

    source: tuple[SourceColumns, ...]
    mixers: StackState


class EncoderDecoder(nn.Module):
    """Maps a source and the target so far to outputs for the target's next token.

    Each decoder block is a mixer, a cross-attention to the encoded source and a feed-forward layer, each in a
    pre-norm residual connection.

    Args:
        source_layer: from source tokens to vectors of d_model; may be `target_layer` itself.
        encoder: reads the source; bidirectional as a rule.
        target_layer: from target tokens to vectors of d_model.
        mixers: the decoder's causal mixers, one a block.
        num_heads: of the cross-attention.
        feed_forward_dim, dropout, norm: as in `ResidualStack`.
        num_outputs: the target vocabulary's size.
    """

    def __init__(
        self,
        source_layer: nn.Module,
        encoder: SequenceEncoder,
        target_layer: nn.Module,
        mixers: Sequence[SequenceModel[Any]],
        *,
        num_heads: int,
        feed_forward_dim: int,
        num_outputs: int,
        dropout: float = 0.0,
        norm: Norm = nn.LayerNorm,
    ) -> None:
        super().__init__()
        width = common_width([encoder, *mixers])
        self.source_layer = source_layer
        self.encoder = encoder
        self.target_layer = target_layer
        self.blocks = nn.ModuleList(
            ResidualBlock(cast(nn.Module, mixer), width, feed_forward_dim=feed_forward_dim, dropout=dropout, norm=norm)
            for mixer in mixers
        )
        self.cross_attentions = nn.ModuleList(CrossAttention(width, num_heads=num_heads) for _ in mixers)
        self.cross_norms = nn.ModuleList(norm(width) for _ in mixers)
        self.dropout = nn.Dropout(dropout)
        self.norm = norm(width)
        self.output_layer = nn.Linear(width, num_outputs)

    def forward(
        self, source: Int64[Tensor, "b m"], source_lengths: Int64[Tensor, " b"], target: Int64[Tensor, "b l"]
    ) -> Float[Tensor, "b l k"]:
        """Returns the outputs after each position of the target, of which a loss asks the token that follows."""
        return self.advance(target, self.read(source, source_lengths))[0]

    def read(self, source: Int64[Tensor, "b m"], lengths: Int64[Tensor, " b"]) -> WritingState:
        """Returns the state before the target's first position, for a source whose rows have these lengths."""
        encoded = self.encoder.encode(self.source_layer(source), lengths)
        return WritingState(
            tuple(cast(CrossAttention, attention).columns(encoded, lengths) for attention in self.cross_attentions),
            tuple(block.mixer.initial_state(len(source)) for block in blocks_of(self.blocks)),
        )

    def advance(self, target: Int64[Tensor, "b l"], state: WritingState) -> tuple[Float[Tensor, "b l k"], WritingState]:
        """Returns the outputs at the next positions of the target, and the state after them."""
        check_state_fits(state, len(target))
        x = self.target_layer(target)
        states = []
        layers = zip(blocks_of(self.blocks), self.cross_attentions, self.cross_norms, *state, strict=True)
        for block, cross_attention, cross_norm, columns, before in layers:
            mixed, after = block.mixer(block.mixer_norm(x), state=before)
            x = x + self.dropout(mixed)
            # The block's own residual sum is that of the cross-attention, whose feed-forward layer follows.
            x = block.add(x, cross_attention(cross_norm(x), columns))
            states.append(after)
        outputs: Tensor = self.output_layer(self.norm(x))
        return outputs, WritingState(state.source, tuple(states))

    @torch.no_grad()
    def write(
        self, source: Int64[Tensor, "b m"], source_lengths: Int64[Tensor, " b"], *, first_token: int, length: int
    ) -> Int64[Tensor, "b l"]:
        """Returns the target that follows `first_token` when the likeliest token is taken each time."""
        state = self.read(source, source_lengths)
        token = torch.full_like(source[:, :1], first_token)
        written = []
        for _ in range(length):
            outputs, state = self.advance(token, state)
            token = outputs.argmax(dim=-1)
            written.append(token)
        return torch.cat(written, dim=1)
