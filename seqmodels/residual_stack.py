"""The one causal stack around every mixer, so that a comparison of mixers compares nothing else."""

from collections.abc import Sequence
from typing import Any, cast

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from .carried_state import check_state_fits
from .residual_block import Norm, ResidualBlock
from .sequence_model import SequenceModel, outputs_of

StackState = tuple[tuple[Any, ...], ...]


class ResidualStack(nn.Module):
    """Residual blocks around given mixers, one after the other, and a last norm; a `SequenceModel` itself.

    Its state is the tuple of the mixers' states.

    Args:
        mixers: at least one, of the same d_model; each is the stack's from now on.
        feed_forward_dim: hidden numbers of the layer after each mixer; None for no such layer (Mamba's blocks).
        dropout: share of the numbers dropped before each residual sum while training.
        norm: from d_model to the norm's module.
    """

    def __init__(
        self,
        mixers: Sequence[SequenceModel[Any]],
        *,
        feed_forward_dim: int | None,
        dropout: float = 0.0,
        norm: Norm = nn.LayerNorm,
    ) -> None:
        super().__init__()
        self.d_model = common_width(mixers)
        self.blocks = nn.ModuleList(
            ResidualBlock(
                cast(nn.Module, mixer), self.d_model, feed_forward_dim=feed_forward_dim, dropout=dropout, norm=norm
            )
            for mixer in mixers
        )
        self.norm = norm(self.d_model)

    def forward(
        self, x: Float[Tensor, "b l d"], *, state: StackState | None = None, resets: Bool[Tensor, "b l"] | None = None
    ) -> tuple[Float[Tensor, "b l d"], StackState]:
        """Returns the outputs and the state after the last position, see `SequenceModel`."""
        if state is not None:
            check_state_fits(state, len(x), self.initial_state(0))
        states = []
        for index, block in enumerate(blocks_of(self.blocks)):
            before = None if state is None else state[index]
            mixed, after = block.mixer(block.mixer_norm(x), state=before, resets=resets)
            x = block.add(x, mixed)
            states.append(after)
        output: Tensor = self.norm(x)
        return output, tuple(states)

    def outputs(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Returns the outputs of whole rows alone, see `outputs_of`."""
        for block in blocks_of(self.blocks):
            x = block.add(x, outputs_of(block.mixer, block.mixer_norm(x)))
        output: Tensor = self.norm(x)
        return output

    def encode(self, x: Float[Tensor, "b l d"], lengths: Int64[Tensor, " b"]) -> Float[Tensor, "b l d"]:
        """Returns the outputs of whole rows: what pads a row on the right cannot reach what stands before it."""
        return self.outputs(x)

    def initial_state(self, batch_size: int) -> StackState:
        """Returns the mixers' initial states."""
        return tuple(block.mixer.initial_state(batch_size) for block in blocks_of(self.blocks))

    def step(self, x: Float[Tensor, "b d"], state: StackState) -> tuple[Float[Tensor, "b d"], StackState]:
        """Returns the output at one position, and the state after it."""
        check_state_fits(state, len(x), self.initial_state(0))
        states = []
        for block, before in zip(blocks_of(self.blocks), state, strict=True):
            mixed, after = block.mixer.step(block.mixer_norm(x), before)
            x = block.add(x, mixed)
            states.append(after)
        output: Tensor = self.norm(x)
        return output, tuple(states)

    def state_size(self, length: int) -> int:
        """Returns the sum over the mixers."""
        return sum(int(block.mixer.state_size(length)) for block in blocks_of(self.blocks))


def blocks_of(modules: nn.ModuleList) -> list[ResidualBlock]:
    """Returns the blocks in a list of modules that holds nothing else."""
    return [cast(ResidualBlock, module) for module in modules]


def common_width(mixers: Sequence[Any]) -> int:
    """Returns the d_model of all mixers, or raises ValueError where there is none or they differ."""
    widths = sorted({mixer.d_model for mixer in mixers})
    if len(widths) != 1:
        raise ValueError(f"a stack needs at least one mixer, and all of one d_model, got {widths or 'no mixer'}")
    return int(widths[0])
