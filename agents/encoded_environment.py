"""Games seen through an encoder that does not learn: observations are features, computed once a step."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import nn

from .encoder import Encoder, frames_per_observation
from .frame_stacker import FrameStacker
from .training import VectorEnvironment

Features = Float32[np.ndarray, "n feature_dim"]


class EncodedEnvironment:
    """A `VectorEnvironment` whose observations are an encoder's features of the last frames of another one.

    What acts and what is stored are the same features, so a replay of them (stack 1) takes no convolution at sampling
    or learning. Exact only while the encoder's weights stay as they are: give it frozen.
    """

    def __init__(
        self,
        environment: VectorEnvironment,
        encoder: Encoder,
        *,
        device: torch.device,
        autocast_dtype: torch.dtype | None = None,
    ) -> None:
        """Stacks as many frames as the encoder takes.

        Raises ValueError where no number of frames fills the encoder's input, or a weight of it can still learn.
        """
        assert isinstance(encoder, nn.Module)
        if any(parameter.requires_grad for parameter in encoder.parameters()):
            raise ValueError("features can be stored for a frozen encoder only, and this one has weights that learn")
        frame_shape = environment.single_observation_space.shape
        self.num_envs = environment.num_envs
        self.single_action_space = environment.single_action_space
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, (encoder.feature_dim,), np.float32)
        self._environment = environment
        self._encoder = encoder
        self._device = device
        self._autocast_dtype = autocast_dtype
        self._stacker = FrameStacker(self.num_envs, frame_shape, frames_per_observation(encoder, frame_shape))

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Features, dict[str, Any]]:
        """Begins an episode in every environment."""
        frames, info = self._environment.reset(seed=seed, options=options)
        return self._encode(self._stacker.reset(frames)), info

    def step(self, actions: Any) -> tuple[Features, Any, Any, Any, dict[str, Any]]:
        """Returns features, and where an episode ended those of its last frame as `final_obs`."""
        frames, rewards, terminated, truncated, info = self._environment.step(actions)
        ended = terminated | truncated
        final_features = np.zeros((self.num_envs, self._encoder.feature_dim), np.float32)
        if ended.any():
            last_stacks = self._stacker.after(info["final_obs"])
            final_features[ended] = self._encode(last_stacks[ended])
        features = self._encode(self._stacker.push(frames, ended))
        return features, rewards, terminated, truncated, info | {"final_obs": final_features}

    def state_dict(self) -> dict[str, Any]:
        """Returns the games' state, and the frames that are stacked at present."""
        return self._environment.state_dict() | {"stacked_frames": torch.from_numpy(self._stacker.stacks.copy())}

    def load_state_dict(self, state: dict[str, Any], *, on_step: Callable[[int], None] | None = None) -> None:
        """Restores what `state_dict` returned."""
        self._environment.load_state_dict(state, on_step=on_step)
        self._stacker.stacks[:] = state["stacked_frames"].numpy()

    @torch.no_grad()
    def _encode(self, stacks: UInt8[np.ndarray, "n c h w"]) -> Features:
        enabled = self._autocast_dtype is not None
        with torch.autocast(self._device.type, dtype=self._autocast_dtype or torch.bfloat16, enabled=enabled):
            features = self._encoder(torch.from_numpy(stacks).to(self._device))
        encoded: Features = features.float().cpu().numpy()
        return encoded
