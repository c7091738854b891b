"""Crosses to Stable-Baselines3 and back: our encoders in its agents, and its agents in our evaluation.

The third crossing needs no code: Stable-Baselines3's `evaluate_policy` asks for `predict` only, which `DQN` has.

Import this module by its full name: nothing else here needs Stable-Baselines3.
"""

import copy
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import torch
from jaxtyping import Float, Int, UInt8
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from .encoder import Encoder


class EncoderExtractor(BaseFeaturesExtractor):
    """Puts a copy of an encoder below the networks of Stable-Baselines3's agents; see `encoder_policy_kwargs`.

    A copy, because its DQN makes an extractor for the online network and one for the target network: sharing the
    encoder's weights would let the target move with every update.
    """

    def __init__(self, observation_space: gym.Space[Any], encoder: Encoder) -> None:
        """Copies `encoder`; raises ValueError when it was made for other frames than `observation_space` has."""
        super().__init__(observation_space, encoder.feature_dim)
        if tuple(encoder.frame_shape) != observation_space.shape:
            raise ValueError(
                f"the encoder was made for frames of shape {tuple(encoder.frame_shape)}, "
                f"the environment gives {observation_space.shape}"
            )
        self.encoder = copy.deepcopy(encoder)
        self._scale_is_known = False

    def forward(self, pixels: Float[Tensor, "b c h w"]) -> Float[Tensor, "b feature_dim"]:
        """Returns the features of frames that Stable-Baselines3 gives as float32 from 0 to 255.

        Raises:
            ValueError: they were scaled to 1 already, because the policy lacks `normalize_images=False`.
        """
        # Looked at once, on the first frames that are not black: later ones come from the same place.
        if not self._scale_is_known and pixels.any():
            if not torch.equal(pixels, pixels.round()):
                raise ValueError("an encoder scales pixels itself: pass normalize_images=False in policy_kwargs")
            self._scale_is_known = True
        return self.encoder(pixels.to(torch.uint8))

    def apply(self, fn: Callable[[nn.Module], None]) -> "EncoderExtractor":
        """Leaves the encoder as it was given: PPO would draw the weights of every layer below it anew."""
        return self


def encoder_policy_kwargs(encoder: Encoder) -> dict[str, Any]:
    """Returns the `policy_kwargs` with which Stable-Baselines3's DQN, PPO or A2C see through a copy of `encoder`.

    With the policy "MlpPolicy" or "CnnPolicy"; `net_arch=[]` leaves one linear layer on the features:

        stable_baselines3.DQN("CnnPolicy", env, policy_kwargs=encoder_policy_kwargs(encoder))
    """
    return {
        "features_extractor_class": EncoderExtractor,
        "features_extractor_kwargs": {"encoder": encoder},
        "normalize_images": False,
    }


class StableBaselines3Agent:
    """An agent of Stable-Baselines3 that acts as ours do, so that `evaluate` can play its games."""

    def __init__(self, model: BaseAlgorithm) -> None:
        self._model = model

    def act(self, observations: UInt8[Tensor, "n c h w"]) -> Int[Tensor, " n"]:
        """Returns the action that the model takes without exploration for each stack of frames."""
        actions, _ = self._model.predict(observations.numpy(), deterministic=True)
        return torch.from_numpy(actions)
