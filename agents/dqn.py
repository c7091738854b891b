"""Deep Q-learning (Mnih et al. 2013, 2015); Double, Dueling, n-step and prioritised Q-learning are parts given to it.

The update, for a transition (s, a, R, G, s') with R the n-step reward and G = gamma^n or 0 at a terminal state:

    y    = R + G * v(s'),   v(s') = max_a Q_target(s', a)                       (Q-learning)
                            v(s') = Q_target(s', argmax_a Q_online(s', a))      (Double Q-learning)
    loss = mean over the batch of w * huber(Q_online(s, a) - y)

Quantile regression (Dabney et al. 2018) learns q quantiles of the return in place of its mean Q: y then has q values,
one for each quantile of v(s'), and the loss is that of `targets.quantile_huber_loss`.

n and gamma belong to the replay, which makes R and G; Dueling is a head of the network; w are the replay's
importance weights, all one when it samples uniformly.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor, nn

from .captured_step import CapturedStep
from .q_network import QNetwork
from .targets import (
    munchausen_reward,
    quantile_huber_loss,
    return_of_action,
    return_of_best_action,
    soft_return,
    td_target,
)
from .transition import TransitionBatch, UpdateResult


@dataclass(frozen=True, kw_only=True)
class DQNConfig:
    """How the network is fitted. The defaults are those of Mnih et al. 2015, Extended Data table 1."""

    double: bool = False
    # The share of the log-policy that is added to the reward, 0.9 as published; 0: no Munchausen, but a hard maximum.
    munchausen: float = 0.0
    munchausen_temperature: float = 0.03  # of the softmax policy, in units of the clipped reward
    munchausen_floor: float = -1.0  # of temperature times the log-policy
    loss: Literal["huber", "squared", "quantile"] = "huber"
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    learning_rate: float = 2.5e-4
    encoder_learning_rate: float | None = None  # of the encoder's weights, smaller for a pretrained one; None: the same
    # Falls linearly to this share of itself over so many updates: large steps find the way, small ones end the jitter.
    final_learning_rate_share: float = 1.0
    learning_rate_decay_updates: int = 0
    # Published: 0.01 inside the root, for gradients summed over 32 samples. Ours are means, and PyTorch adds outside.
    optimizer_epsilon: float = 0.01**0.5 / 32
    max_gradient_norm: float | None = None
    target_update_every_updates: int = 2_500  # 10,000 steps at one update every 4 steps
    tau: float = 1.0  # how far the target then goes to the network; small: an average of about 1/tau updates
    act_with: Literal["online", "target"] = "online"  # target: its average jitters less (Schwarzer et al. 2023, BBF)

    def learning_rate_share(self, updates: int) -> float:
        """Returns what is left of the learning rates after so many updates."""
        progress = min(updates / self.learning_rate_decay_updates, 1.0) if self.learning_rate_decay_updates else 1.0
        return 1.0 + progress * (self.final_learning_rate_share - 1.0)

    def __post_init__(self) -> None:
        for name in ("loss", "optimizer", "act_with"):
            choices = get_args(DQNConfig.__annotations__[name])
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if not 0 <= self.munchausen < 1:
            raise ValueError(f"munchausen must lie within [0, 1), got {self.munchausen}")
        if self.munchausen and self.double:
            raise ValueError("munchausen has no hard maximum for double to correct: choose one of the two")
        if self.munchausen_temperature <= 0 or self.munchausen_floor > 0:
            raise ValueError(
                "munchausen_temperature must be positive and munchausen_floor at most 0, "
                f"got {self.munchausen_temperature} and {self.munchausen_floor}"
            )
        if self.encoder_learning_rate is not None and self.encoder_learning_rate <= 0:
            raise ValueError(f"encoder_learning_rate must be positive or None, got {self.encoder_learning_rate}")
        if not 0 < self.final_learning_rate_share <= 1 or self.learning_rate_decay_updates < 0:
            raise ValueError(
                "final_learning_rate_share must lie within (0, 1] and learning_rate_decay_updates be at least 0, "
                f"got {self.final_learning_rate_share} and {self.learning_rate_decay_updates}"
            )
        if self.final_learning_rate_share < 1 and self.learning_rate_decay_updates < 1:
            raise ValueError(
                "learning_rate_decay_updates must be at least 1 for the learning rate to fall to a "
                f"final_learning_rate_share of {self.final_learning_rate_share}, got {self.learning_rate_decay_updates}"
            )
        if self.target_update_every_updates < 1:
            raise ValueError(f"target_update_every_updates must be at least 1, got {self.target_update_every_updates}")
        if not 0 < self.tau <= 1:
            raise ValueError(f"tau must lie within (0, 1], got {self.tau}")
        if self.max_gradient_norm is not None and self.max_gradient_norm <= 0:
            raise ValueError(f"max_gradient_norm must be positive or None, got {self.max_gradient_norm}")


class NonFiniteLossError(RuntimeError):
    """The loss became infinite or not a number; on the CPU, the weights are those from before the update."""


class DQN:
    """A deep Q-learning agent: acts greedily by its network and fits it to sampled transitions."""

    def __init__(
        self,
        network: QNetwork,
        config: DQNConfig,
        *,
        device: torch.device,
        autocast_dtype: torch.dtype | None = None,
        compile_update: bool = False,
        capture_update: bool = False,
    ) -> None:
        """Moves `network` to `device`.

        `autocast_dtype` bfloat16 computes convolutions and products in bfloat16; `compile_update` compiles loss and
        gradient with torch.compile; `capture_update`, on a GPU, records the whole update as one CUDA graph.
        """
        if capture_update and device.type != "cuda":
            raise ValueError(f"an update can be captured on a CUDA device only, got {device}")
        if network.num_quantiles > 1 and config.loss != "quantile":
            raise ValueError(
                f"a network of {network.num_quantiles} quantiles needs the loss quantile, got {config.loss}"
            )
        self.config = config
        self.device = device
        self.network = network.to(device)
        self.target_network = copy.deepcopy(network).requires_grad_(False)
        # Capturable, with its step count on the GPU, only where it is captured: it warns at every other step.
        self.optimizer = _build_optimizer(self.network, config, capturable=capture_update)
        self._first_learning_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.updates = 0
        self._autocast_dtype = autocast_dtype
        # On the CPU oneDNN brings pixels into the order of its own faster than TorchInductor does.
        options: dict[str, Any] = {"layout_optimization": device.type != "cpu"}
        self._loss = (
            torch.compile(self._compute_loss, dynamic=False, options=options) if compile_update else self._compute_loss
        )
        self._capture_update = capture_update
        self._step = self._build_step()

    @property
    def learning_rate(self) -> float:
        """That of the next update, outside an encoder with a rate of its own."""
        return self.config.learning_rate * self.config.learning_rate_share(self.updates)

    @torch.no_grad()
    def action_values(self, observations: Shaped[Tensor, "n *observation"]) -> Float[Tensor, "n a"]:
        """Returns Q(s, a) of the network that acts for every action, in float32; observations as in `QNetwork`."""
        network = self.network if self.config.act_with == "online" else self.target_network
        with self._autocast():
            values: Tensor = network(observations.to(self.device))
        return values.float()

    @torch.no_grad()
    def fit_feature_scale(self, observations: Shaped[Tensor, "n *observation"]) -> None:
        """Measures the scale of a frozen encoder's features, for both networks; see `QNetwork`."""
        for network in (self.network, self.target_network):
            network.fit_scale(observations.to(self.device))

    def act(self, observations: Shaped[Tensor, "n *observation"]) -> Int[Tensor, " n"]:
        """Returns the greedy action of each observation, on the CPU."""
        return self.action_values(observations).argmax(dim=1).cpu()

    def predict(
        self,
        observation: UInt8[np.ndarray, "*n c h w"],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Returns greedy actions and `state` unchanged, as Stable-Baselines3's `predict` does.

        The agent has no exploration of its own, so `deterministic` makes no difference.
        """
        single = observation.ndim == 3
        batch = torch.from_numpy(np.ascontiguousarray(observation[None] if single else observation))
        actions = self.act(batch).numpy()
        return (actions.squeeze(0) if single else actions), state

    def update(self, batch: TransitionBatch) -> UpdateResult:
        """Takes one gradient step, and moves the target network to the online one where that is due.

        On the CPU, where looking costs nothing, raises NonFiniteLossError before the weights change.
        """
        self._set_learning_rates()
        result = self._step(batch.to(self.device))
        self.updates += 1
        if self.updates % self.config.target_update_every_updates == 0:
            self._move_target()
        return result

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that later updates depend on."""
        return {
            "network": self.network.state_dict(),
            "target_network": self.target_network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned; raises RuntimeError where the networks differ in shape."""
        self.network.load_state_dict(state["network"])
        self.target_network.load_state_dict(state["target_network"])
        optimizer = state["optimizer"]
        # Saved on another device, perhaps; the learning rate is set before each update.
        here = {"lr": 0.0, "capturable": self._capture_update}
        groups = [{**group, **here} for group in optimizer["param_groups"]]
        self.optimizer.load_state_dict({**optimizer, "param_groups": groups})
        self.updates = state["updates"]
        self._step = self._build_step()  # a captured graph reads the optimiser's old tensors

    @torch.no_grad()
    def _move_target(self) -> None:
        targets = self.target_network.state_dict()  # the tensors themselves, buffers among them
        for name, value in self.network.state_dict().items():
            if value.is_floating_point() and self.config.tau < 1:
                targets[name].lerp_(value, self.config.tau)
            else:
                targets[name].copy_(value)

    def _set_learning_rates(self) -> None:
        share = self.config.learning_rate_share(self.updates)
        for group, first in zip(self.optimizer.param_groups, self._first_learning_rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(first * share)
            elif self._capture_update:  # a captured graph reads it from where it was at the capture
                group["lr"] = torch.tensor(first * share, device=self.device)
            else:
                group["lr"] = first * share

    def _build_step(self) -> Callable[[TransitionBatch], UpdateResult]:
        if self._capture_update:
            return CapturedStep(self._gradient_step, network=self.network, optimizer=self.optimizer)
        return self._gradient_step

    def _gradient_step(self, batch: TransitionBatch) -> UpdateResult:
        self.optimizer.zero_grad(set_to_none=True)
        result: UpdateResult = self._loss(batch)
        if self.device.type == "cpu" and not torch.isfinite(result.loss):
            raise NonFiniteLossError(f"the loss is {result.loss.item()} at update {self.updates}")
        result.loss.backward()
        if self.config.max_gradient_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.max_gradient_norm)
        self.optimizer.step()
        return UpdateResult(*(tensor.detach() for tensor in result))

    def _compute_loss(self, batch: TransitionBatch) -> UpdateResult:
        with self._autocast():
            quantiles = self.network.quantiles(batch.observation).float()  # (b, a, q)
            with torch.no_grad():
                target_quantiles = self.target_network.quantiles(batch.next_observation).float()  # (b, a, q)
                choosing_values = target_quantiles.mean(dim=2)
                if self.config.double:
                    choosing_values = self.network(batch.next_observation).float()
        reward = batch.reward
        if self.config.munchausen:
            temperature, floor = self.config.munchausen_temperature, self.config.munchausen_floor
            values = quantiles.detach().mean(dim=2)  # the target network's would cost a third pass
            reward = reward + self.config.munchausen * munchausen_reward(values, batch.action, temperature, floor)
            next_return = soft_return(target_quantiles, choosing_values, temperature)
        else:
            next_return = return_of_best_action(target_quantiles, choosing_values)
        target = td_target(reward, batch.discount, next_return)
        predicted = return_of_action(quantiles, batch.action)  # (b, q)
        losses, error = self._losses(predicted, target)
        greedy_value = quantiles.mean(dim=2).amax(dim=1)
        return UpdateResult((batch.weight * losses).mean(), error, greedy_value.mean(), greedy_value.max())

    def _losses(
        self, predicted: Float[Tensor, "b q"], target: Float[Tensor, "b q"]
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Returns the loss of each transition, and the error that its priority is made of."""
        if self.config.loss == "quantile":
            losses = quantile_huber_loss(predicted, target)
            return losses, losses  # as Castro et al. 2018 (Dopamine) do for distributional agents
        td_error = (predicted - target).squeeze(1)
        if self.config.loss == "huber":  # the error clipped to [-1, 1] of Mnih et al. 2015
            return nn.functional.huber_loss(td_error, torch.zeros_like(td_error), reduction="none"), td_error
        return 0.5 * td_error.square(), td_error

    def _autocast(self) -> torch.autocast:
        enabled = self._autocast_dtype is not None
        return torch.autocast(self.device.type, dtype=self._autocast_dtype or torch.bfloat16, enabled=enabled)


def _build_optimizer(network: QNetwork, config: DQNConfig, *, capturable: bool) -> torch.optim.Optimizer:
    groups = _parameter_groups(network, config)
    if config.optimizer == "adam":
        return torch.optim.Adam(
            groups, config.learning_rate, eps=config.optimizer_epsilon, fused=True, capturable=capturable
        )
    return torch.optim.RMSprop(
        groups,
        config.learning_rate,
        alpha=0.95,
        eps=config.optimizer_epsilon,
        centered=True,
        capturable=capturable,
    )


def _parameter_groups(network: QNetwork, config: DQNConfig) -> list[dict[str, Any]]:
    """Returns the weights that learn: those of the encoder, where any do, in a group with its own learning rate."""
    assert isinstance(network.encoder, nn.Module)
    encoder, head = (
        [parameter for parameter in part.parameters() if parameter.requires_grad]
        for part in (network.encoder, network.head)
    )
    if config.encoder_learning_rate is None:
        return [{"params": encoder + head}]
    return [{"params": encoder, "lr": config.encoder_learning_rate}, {"params": head}]
