"""The action-value network: an encoder that is given, and a head on its features."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from .encoder import Encoder
from .feature_scale import FeatureScale


class LinearHead(nn.Module):
    """Q(s, a) as a linear map of the features (Mnih et al. 2015, Extended Data table 1).

    With more than one quantile each action has as many numbers, whose mean is Q (Dabney et al. 2018, section 4).
    """

    def __init__(self, feature_dim: int, num_actions: int, num_quantiles: int = 1) -> None:
        super().__init__()
        self.num_quantiles = num_quantiles
        self.action_values = nn.Linear(feature_dim, num_actions * num_quantiles)

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b a q"]:
        """Returns the quantiles of each action's return."""
        values: Tensor = self.action_values(features).unflatten(1, (-1, self.num_quantiles))
        return values


class DuelingHead(nn.Module):
    """Q(s, a) = V(s) + A(s, a) - mean over a' of A(s, a') (Wang et al. 2016, eq. 9).

    Both streams read the encoder's last layer, where the paper gives each a hidden layer of its own. With more than
    one quantile the equation holds for each of them.
    """

    def __init__(self, feature_dim: int, num_actions: int, num_quantiles: int = 1) -> None:
        super().__init__()
        self.num_quantiles = num_quantiles
        self.state_value = nn.Linear(feature_dim, num_quantiles)
        self.advantage = nn.Linear(feature_dim, num_actions * num_quantiles)

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b a q"]:
        """Returns the quantiles of each action's return."""
        advantage: Tensor = self.advantage(features).unflatten(1, (-1, self.num_quantiles))  # (b, a, q)
        centred = advantage - advantage.mean(dim=1, keepdim=True)
        values: Tensor = self.state_value(features).unsqueeze(1) + centred
        return values


# (feature_dim, num_actions, num_quantiles) -> a module from features to the quantiles of each action's return
HeadFactory = Callable[[int, int, int], nn.Module]


class QNetwork(nn.Module):
    """Action values of stacked frames, `head(encoder(frames))`, or of features that the encoder has given before."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        observation_shape: tuple[int, ...],
        num_actions: int,
        head: HeadFactory = LinearHead,
        num_quantiles: int = 1,
        scale_features: bool = False,
    ) -> None:
        """Builds the head for `num_actions`; raises ValueError when the encoder was made for other frames.

        More than one quantile is for `DQNConfig(loss="quantile")`, `scale_features` for a frozen encoder: its features
        go through a `FeatureScale` to the head.
        """
        super().__init__()
        if num_quantiles < 1:
            raise ValueError(f"num_quantiles must be at least 1, got {num_quantiles}")
        if tuple(encoder.frame_shape) != tuple(observation_shape):
            raise ValueError(
                f"the encoder was made for frames of shape {tuple(encoder.frame_shape)}, "
                f"the environment gives {tuple(observation_shape)}"
            )
        if not isinstance(encoder, nn.Module):
            raise ValueError(f"an encoder must be a torch.nn.Module, got {type(encoder).__name__}")
        self.num_actions = num_actions
        self.encoder = encoder
        self.num_quantiles = num_quantiles
        self.scale = FeatureScale(encoder.feature_dim) if scale_features else None
        self.head = head(encoder.feature_dim, num_actions, num_quantiles)

    def forward(self, observation: Shaped[Tensor, "b *observation"]) -> Float[Tensor, "b a"]:
        """Returns Q(s, a) for every action, the mean of its quantiles."""
        return self.quantiles(observation).mean(dim=2)

    def quantiles(self, observation: Shaped[Tensor, "b *observation"]) -> Float[Tensor, "b a q"]:
        """Returns the quantiles of each action's return; with one of them, Q(s, a) itself.

        `observation` is frames, uint8 (b, c, h, w), or their features, float (b, feature_dim), which skip the encoder.
        """
        features = self._features(observation)
        # Without autocast: bfloat16 rounds values near 1 to steps of 0.004, and Pong's actions often differ by less.
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(next(self.head.parameters()).dtype)
            quantiles: Tensor = self.head(features if self.scale is None else self.scale(features))
        return quantiles

    def fit_scale(self, observation: Shaped[Tensor, "b *observation"]) -> None:
        """Measures the scale of the features, where there is one, on observations as `quantiles` takes them."""
        if self.scale is not None:
            self.scale.fit(self._features(observation).float())

    def _features(self, observation: Shaped[Tensor, "b *observation"]) -> Float[Tensor, "b d"]:
        features: Tensor = observation if observation.is_floating_point() else self.encoder(observation)
        return features
