"""A model that says at every position which token stands there, to be trained where tokens are hidden (BERT)."""

from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from .sequence_encoder import SequenceEncoder


class MaskedModel(nn.Module):
    """Maps tokens to one vector of outputs per position, which sees all that its encoder lets it see.

    With a bidirectional encoder, inputs hidden by `masked_inputs.hide_tokens` and a loss at the hidden positions only,
    this is BERT's first objective (Devlin et al. 2019, section 3.1). The pretrained parts are handed to a classifier.

    Args:
        input_layer: from inputs to vectors of d_model; for tokens it has one row more than the vocabulary, the mask's.
        encoder: a bidirectional or a causal stack.
        num_outputs: the vocabulary's size.
    """

    def __init__(self, input_layer: nn.Module, encoder: SequenceEncoder, *, num_outputs: int) -> None:
        super().__init__()
        self.input_layer = input_layer
        self.encoder = encoder
        self.output_layer = nn.Linear(encoder.d_model, num_outputs)

    def forward(self, inputs: Shaped[Tensor, "b l *channels"], lengths: Int64[Tensor, " b"]) -> Float[Tensor, "b l k"]:
        """Returns the outputs; those at and after a row's length mean nothing."""
        outputs: Tensor = self.output_layer(self.encoder.encode(self.input_layer(inputs), lengths))
        return outputs
