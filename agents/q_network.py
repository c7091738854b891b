"""The action-value network: an encoder that is given, and a head on its features."""

from collections.abc import Callable

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from .encoder import Encoder


class LinearHead(nn.Module):
    """Q(s, a) as a linear map of the features (Mnih et al. 2015, Extended Data table 1)."""

    def __init__(self, feature_dim: int, num_actions: int) -> None:
        super().__init__()
        self.action_values = nn.Linear(feature_dim, num_actions)

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b a"]:
        """Returns one value per action."""
        values: Tensor = self.action_values(features)
        return values


class DuelingHead(nn.Module):
    """Q(s, a) = V(s) + A(s, a) - mean over a' of A(s, a') (Wang et al. 2016, eq. 9).

    Both streams read the encoder's last layer, where the paper gives each a hidden layer of its own.
    """

    def __init__(self, feature_dim: int, num_actions: int) -> None:
        super().__init__()
        self.state_value = nn.Linear(feature_dim, 1)
        self.advantage = nn.Linear(feature_dim, num_actions)

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b a"]:
        """Returns one value per action."""
        advantage: Tensor = self.advantage(features)
        values: Tensor = self.state_value(features) + advantage - advantage.mean(dim=1, keepdim=True)
        return values


HeadFactory = Callable[[int, int], nn.Module]  # (feature_dim, num_actions) -> a module from features to action values


class QNetwork(nn.Module):
    """Action values of stacked frames: `head(encoder(frames))`."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        observation_shape: tuple[int, ...],
        num_actions: int,
        head: HeadFactory = LinearHead,
    ) -> None:
        """Builds the head for `num_actions`; raises ValueError when the encoder was made for other frames."""
        super().__init__()
        if tuple(encoder.frame_shape) != tuple(observation_shape):
            raise ValueError(
                f"the encoder was made for frames of shape {tuple(encoder.frame_shape)}, "
                f"the environment gives {tuple(observation_shape)}"
            )
        if not isinstance(encoder, nn.Module):
            raise ValueError(f"an encoder must be a torch.nn.Module, got {type(encoder).__name__}")
        self.num_actions = num_actions
        self.encoder = encoder
        self.head = head(encoder.feature_dim, num_actions)

    def forward(self, frames: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b a"]:
        """Returns Q(s, a) for every action."""
        values: Tensor = self.head(self.encoder(frames))
        return values
