"""Builds a run of Stable-Baselines3's DQN or PPO from its configuration, on our environments and encoders."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import gymnasium as gym
import stable_baselines3
import torch
import tyro
from stable_baselines3.common.atari_wrappers import ClipRewardEnv, EpisodicLifeEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.stable_baselines3_bridge import encoder_policy_kwargs
from envs import AtariConfig, Catch, make_atari

from .dqn_config import DQNRunConfig, EvaluationConfig
from .seeding import integer_seed
from .starting_encoder import build_encoder

_NO_PREFIX = tyro.conf.arg(name="")  # the flag is --game, not --atari.game


@dataclass(frozen=True, kw_only=True)
class SB3DQNConfig:
    """Settings of Stable-Baselines3's DQN: those of its zoo for Atari, with a shorter start and exploration."""

    num_envs: int = 1
    buffer_size: int = 100_000  # transitions of two stacks each: 56 kB
    learning_starts: int = 10_000
    learning_rate: float = 1e-4
    batch_size: int = 32
    train_every_steps: int = 4  # of every game
    updates_per_training: int = 1
    target_update_every_steps: int = 1_000
    exploration_decay_steps: int = 100_000
    final_epsilon: float = 0.01


@dataclass(frozen=True, kw_only=True)
class SB3PPOConfig:
    """Settings of Stable-Baselines3's PPO: those of its zoo for Atari."""

    num_envs: int = 8
    steps_per_rollout: int = 128  # of every game
    batch_size: int = 256
    epochs_per_rollout: int = 4
    learning_rate: float = 2.5e-4  # falls linearly to 0, as does the clip range
    clip_range: float = 0.1
    entropy_coefficient: float = 0.01
    value_coefficient: float = 0.5


@dataclass(frozen=True, kw_only=True)
class SB3RunConfig:
    """Everything that decides about a run of Stable-Baselines3; `dqn` or `ppo` is read, after `algorithm`."""

    algorithm: Literal["dqn", "ppo"] = "dqn"
    catch: bool = False  # play Catch, a tiny game that needs no ROM, instead of an Atari game
    seed: int = 0  # of everything: weights, games, exploration, evaluation
    total_steps: int = 1_000_000  # one step is one action of one game
    encoder: str = "NatureCNN"  # an architecture by name, or the folder of a saved encoder
    discount: float = 0.99
    log_every_steps: int = 2_000  # of all games together
    atari: Annotated[AtariConfig, _NO_PREFIX] = field(default_factory=AtariConfig)
    dqn: SB3DQNConfig = field(default_factory=SB3DQNConfig)
    ppo: SB3PPOConfig = field(default_factory=SB3PPOConfig)
    evaluation: Annotated[EvaluationConfig, _NO_PREFIX] = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        for name in ("total_steps", "log_every_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def games(self) -> DQNRunConfig:
        """The rules of play and evaluation as a run of our DQN has them: the same code evaluates both."""
        return DQNRunConfig(
            catch=self.catch,
            seed=self.seed,
            stack=1 if self.catch else 4,  # one frame of Catch shows less than its ball's drift, which is enough
            atari=self.atari,
            evaluation=self.evaluation,
        )


def build_model(config: SB3RunConfig, *, device: torch.device) -> BaseAlgorithm:
    """Returns a model that has not learned yet, with its games; seeds every global generator, as the library does."""
    num_envs = config.dqn.num_envs if config.algorithm == "dqn" else config.ppo.num_envs
    games = DummyVecEnv([lambda: _build_game(config)] * num_envs)
    seed = integer_seed(config.seed, "training")
    torch.manual_seed(integer_seed(config.seed, "weights"))
    channels, height, width = games.observation_space.shape or ()
    encoder = build_encoder(config.encoder, (channels, height, width))
    # net_arch=[]: one linear layer on the features, as in its CnnPolicy and in our network.
    shared: dict[str, Any] = {
        "policy_kwargs": encoder_policy_kwargs(encoder) | {"net_arch": []},
        "gamma": config.discount,
        "seed": seed,
        "device": device,
    }
    build = _build_dqn if config.algorithm == "dqn" else _build_ppo
    model = build(config, games, shared)
    model.set_logger(Logger(folder=None, output_formats=[]))  # we write the curves, see SB3Recorder
    return model


def _build_dqn(config: SB3RunConfig, games: DummyVecEnv, shared: dict[str, Any]) -> BaseAlgorithm:
    dqn = config.dqn
    return stable_baselines3.DQN(
        "CnnPolicy",
        games,
        buffer_size=dqn.buffer_size,
        learning_starts=dqn.learning_starts,
        learning_rate=dqn.learning_rate,
        batch_size=dqn.batch_size,
        train_freq=dqn.train_every_steps,
        gradient_steps=dqn.updates_per_training,
        target_update_interval=dqn.target_update_every_steps,
        exploration_fraction=min(dqn.exploration_decay_steps / config.total_steps, 1.0),
        exploration_final_eps=dqn.final_epsilon,
        **shared,
    )


def _build_ppo(config: SB3RunConfig, games: DummyVecEnv, shared: dict[str, Any]) -> BaseAlgorithm:
    ppo = config.ppo
    return stable_baselines3.PPO(
        "CnnPolicy",
        games,
        n_steps=ppo.steps_per_rollout,
        batch_size=ppo.batch_size,
        n_epochs=ppo.epochs_per_rollout,
        learning_rate=LinearSchedule(ppo.learning_rate, 0.0, 1.0),
        clip_range=LinearSchedule(ppo.clip_range, 0.0, 1.0),
        ent_coef=ppo.entropy_coefficient,
        vf_coef=ppo.value_coefficient,
        **shared,
    )


def _build_game(config: SB3RunConfig) -> gym.Env[Any, Any]:
    """Returns one game as our learner sees it: rewards by sign, a lost life terminal and yet no reset."""
    if config.catch:
        return Monitor(Catch())
    # Monitor stands innermost: it reports full games and raw scores.
    return ClipRewardEnv(EpisodicLifeEnv(Monitor(make_atari(config.atari))))
