"""A causal model with an answer at every position: the next token, or whatever a task asks there."""

from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from .residual_stack import ResidualStack, StackState


class Decoder(nn.Module):
    """Maps tokens or values to one vector of outputs per position, which depends on no later input.

    Args:
        input_layer: from inputs to vectors of d_model: nn.Embedding for tokens, nn.Linear for values.
        stack: the mixers.
        num_outputs: the vocabulary's size, or numbers per position.
    """

    def __init__(self, input_layer: nn.Module, stack: ResidualStack, *, num_outputs: int) -> None:
        super().__init__()
        self.input_layer = input_layer
        self.stack = stack
        self.output_layer = nn.Linear(stack.d_model, num_outputs)

    def forward(
        self, inputs: Shaped[Tensor, "b l *channels"], lengths: Shaped[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b l k"]:
        """Returns the outputs of whole rows. `lengths`, which every model takes, change nothing in a causal one."""
        outputs: Tensor = self.output_layer(self.stack.outputs(self.input_layer(inputs)))
        return outputs

    def advance(
        self,
        inputs: Shaped[Tensor, "b l *channels"],
        *,
        state: StackState | None = None,
        resets: Bool[Tensor, "b l"] | None = None,
    ) -> tuple[Float[Tensor, "b l k"], StackState]:
        """Returns the outputs and the state after the last position, see `SequenceModel`."""
        hidden, state = self.stack(self.input_layer(inputs), state=state, resets=resets)
        return self.output_layer(hidden), state

    def initial_state(self, batch_size: int) -> StackState:
        """Returns the state before the first position."""
        return self.stack.initial_state(batch_size)

    def step(self, inputs: Shaped[Tensor, "b *channels"], state: StackState) -> tuple[Float[Tensor, "b k"], StackState]:
        """Returns the outputs at one position, and the state after it."""
        hidden, state = self.stack.step(self.input_layer(inputs), state)
        return self.output_layer(hidden), state

    def state_size(self, length: int) -> int:
        """Returns how many numbers are kept per row after `length` steps."""
        return self.stack.state_size(length)
