"""What stands around a mixer in every stack: norms, residual connections and a feed-forward layer."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]


def feed_forward(d_model: int, hidden_dim: int, dropout: float) -> nn.Sequential:
    """Returns the layer that treats each position alone: linear, GELU, linear (Vaswani et al. 2017, section 3.3).

    GELU for the paper's ReLU, as BERT has it (Devlin et al. 2018, appendix A.2).
    """
    return nn.Sequential(nn.Linear(d_model, hidden_dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden_dim, d_model))


class ResidualBlock(nn.Module):
    """Holds a mixer and what comes before and after it: y = x + mixer(norm(x)); y + feed_forward(norm(y)).

    Norms stand before the layers ("pre-norm", Xiong et al. 2020), which trains without warm-up. The stack calls the
    mixer, because only it knows whether that takes a state or lengths.
    """

    def __init__(
        self, mixer: nn.Module, d_model: int, *, feed_forward_dim: int | None, dropout: float, norm: Norm
    ) -> None:
        super().__init__()
        self.mixer: Any = mixer  # its stack knows how it is called
        self.mixer_norm = norm(d_model)
        self.dropout = nn.Dropout(dropout)
        self.feed_forward_norm = None if feed_forward_dim is None else norm(d_model)
        self.feed_forward = None if feed_forward_dim is None else feed_forward(d_model, feed_forward_dim, dropout)

    def add(self, x: Float[Tensor, "*shape d"], mixed: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
        """Returns the block's output from its input and what the mixer made of `mixer_norm(x)`."""
        x = x + self.dropout(mixed)
        if self.feed_forward is not None and self.feed_forward_norm is not None:
            x = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return x
