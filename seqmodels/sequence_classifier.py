"""A model with one answer for a whole row, or for a pair of rows."""

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from .pooling import Pooling, pool
from .sequence_encoder import SequenceEncoder


class SequenceClassifier(nn.Module):
    """Maps each row of tokens or values to one vector of outputs: classes, or numbers.

    Args:
        input_layer: from inputs to vectors of d_model: nn.Embedding for tokens, nn.Linear for values.
        encoder: a causal or a bidirectional stack.
        pooling: how a row's vectors become one.
        num_outputs: classes or numbers.
    """

    def __init__(self, input_layer: nn.Module, encoder: SequenceEncoder, *, pooling: Pooling, num_outputs: int) -> None:
        super().__init__()
        self.input_layer = input_layer
        self.encoder = encoder
        self.pooling = pooling
        self.output_layer = nn.Linear(encoder.d_model, num_outputs)

    def forward(self, inputs: Shaped[Tensor, "b l *channels"], lengths: Int64[Tensor, " b"]) -> Float[Tensor, "b k"]:
        """Returns the outputs of each row."""
        hidden = self.encoder.encode(self.input_layer(inputs), lengths)
        outputs: Tensor = self.output_layer(pool(hidden, lengths, self.pooling))
        return outputs


class PairClassifier(nn.Module):
    """Maps each pair of adjacent rows, encoded one by one, to one vector of outputs.

    Both rows' vectors, their product and their difference go through two hidden layers, the second half as wide (Tay et
    al. 2020, code of the Retrieval task). Arguments as in `SequenceClassifier`.
    """

    def __init__(self, input_layer: nn.Module, encoder: SequenceEncoder, *, pooling: Pooling, num_outputs: int) -> None:
        super().__init__()
        self.input_layer = input_layer
        self.encoder = encoder
        self.pooling = pooling
        width = encoder.d_model
        self.output_layer = nn.Sequential(
            nn.Linear(4 * width, 2 * width),
            nn.ReLU(),
            nn.Linear(2 * width, width),
            nn.ReLU(),
            nn.Linear(width, num_outputs),
        )

    def forward(
        self, inputs: Shaped[Tensor, "rows l *channels"], lengths: Int64[Tensor, " rows"]
    ) -> Float[Tensor, "b k"]:
        """Returns the outputs of each pair: rows 0 and 1, 2 and 3, ..."""
        hidden = self.encoder.encode(self.input_layer(inputs), lengths)
        rows = pool(hidden, lengths, self.pooling)
        first, second = rows[0::2], rows[1::2]
        outputs: Tensor = self.output_layer(torch.cat([first, second, first * second, first - second], dim=-1))
        return outputs
