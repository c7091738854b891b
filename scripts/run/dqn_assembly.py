"""Builds what a DQN run is made of from its configuration: games, network, agent, memory."""

from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from agents import DQN, DuelingHead, EncodedEnvironment, LinearHead, QNetwork, Training, VectorEnvironment
from agents.replay import DeviceStorage, FrameStorage, Lz4Storage, Priorities, RawStorage, Replay
from agents.training import agent_stack
from envs import SeededEpisodes, make_atari_vector, make_catch_vector

from . import starting_encoder
from .devices import available_cores, can_compile, computes_in_bfloat16
from .dqn_config import DQNRunConfig, ReplayConfig
from .seeding import integer_seed

KEPT_ENCODER = "encoder"  # the folder of a run with the saved encoder that it began with


def build_games(config: DQNRunConfig, *, num_envs: int, purpose: str) -> SeededEpisodes:
    """Returns `num_envs` games side by side, seeded for `purpose` ("training", "evaluation")."""
    seed = integer_seed(config.seed, purpose)
    if config.catch:
        return make_catch_vector(num_envs=num_envs, seed=seed)
    return make_atari_vector(
        config.atari,
        num_envs=num_envs,
        num_threads=min(num_envs, available_cores()),
        seed=seed,
        # A resumed run first plays again what came since: at most 5,000 steps of each game and an episode.
        reseed_every_steps=5_000,
    )


def build_agent(config: DQNRunConfig, games: SeededEpisodes, *, device: torch.device) -> DQN:
    """Returns an agent with freshly drawn weights (of the head alone, when the encoder is a saved one).

    Seeds PyTorch's global generator, from which modules draw their weights.
    """
    torch.manual_seed(integer_seed(config.seed, "weights"))
    channels, height, width = frame_shape(games)
    observation_shape = (config.stack * channels, height, width)
    encoder = starting_encoder.build_encoder(config.encoder, observation_shape)
    if config.encoder_mode == "frozen":
        assert isinstance(encoder, nn.Module)
        encoder.requires_grad_(False)
    network = QNetwork(
        encoder,
        observation_shape=observation_shape,
        num_actions=num_actions(games),
        head=DuelingHead if config.dueling else LinearHead,
        num_quantiles=config.num_quantiles,
        scale_features=config.encoder_mode == "frozen",
    )
    return DQN(
        network,
        config.dqn,
        device=device,
        autocast_dtype=_autocast_dtype(config, device),
        compile_update=config.compile == "on" or (config.compile == "auto" and can_compile(device)),
        capture_update=device.type == "cuda",
    )


def _autocast_dtype(config: DQNRunConfig, device: torch.device) -> torch.dtype | None:
    automatic = config.precision == "auto" and computes_in_bfloat16(device)
    # A frozen encoder's features may differ by less than bfloat16 tells apart, and are computed once a step.
    bfloat16 = config.precision == "bfloat16" or (automatic and config.encoder_mode != "frozen")
    return torch.bfloat16 if bfloat16 else None


def frame_shape(games: SeededEpisodes) -> tuple[int, int, int]:
    """Returns (C, H, W) of one frame."""
    channels, height, width = games.single_observation_space.shape or ()
    return channels, height, width


def num_actions(games: SeededEpisodes) -> int:
    """Returns the number of actions of each game."""
    assert isinstance(games.single_action_space, gym.spaces.Discrete)
    return int(games.single_action_space.n)


def build_training(config: DQNRunConfig, *, device: torch.device) -> Training:
    """Returns a run that has not begun."""
    check_encoder(config)
    games = build_games(config, num_envs=config.num_envs, purpose="training")
    agent = build_agent(config, games, device=device)
    environment: VectorEnvironment = games
    if config.encoder_mode == "frozen":
        encoder, autocast_dtype = agent.network.encoder, _autocast_dtype(config, device)
        environment = EncodedEnvironment(games, encoder, device=device, autocast_dtype=autocast_dtype)
    replay = _build_replay(config, environment, device, stack=agent_stack(agent, environment))
    return Training(
        agent=agent,
        environment=environment,
        replay=replay,
        config=config.training,
        seed=integer_seed(config.seed, "exploration and sampling"),
    )


def check_encoder(config: DQNRunConfig) -> None:
    """Raises ValueError for the learning rate of an encoder that does not learn."""
    rate = config.dqn.encoder_learning_rate
    if config.encoder_mode == "frozen" and rate is not None:
        raise ValueError(f"a frozen encoder does not learn: encoder_learning_rate must be None, got {rate}")


def keep_encoder(config: DQNRunConfig, run: Path) -> None:
    """Copies the saved encoder that a run begins with into the run's folder, unless it is there already."""
    starting_encoder.keep_encoder(config.encoder, run / KEPT_ENCODER)


def with_kept_encoder(config: DQNRunConfig, run: Path) -> DQNRunConfig:
    """Returns a run's configuration with its own copy of the encoder it began with."""
    return replace(config, encoder=starting_encoder.kept_encoder(config.encoder, run / KEPT_ENCODER))


def _build_replay(config: DQNRunConfig, environment: VectorEnvironment, device: torch.device, *, stack: int) -> Replay:
    replay = config.replay
    capacity = replay.capacity // environment.num_envs * environment.num_envs  # each game's ring has the same length
    return Replay(
        _build_storage(replay, capacity, environment.single_observation_space, device),
        num_envs=environment.num_envs,
        stack=stack,
        n_step=replay.n_step,
        discount=replay.discount,
        reward_clip=replay.reward_clip,
        priorities=Priorities(capacity, exponent=replay.priority_exponent) if replay.prioritised else None,
    )


def _build_storage(config: ReplayConfig, capacity: int, space: gym.spaces.Box, device: torch.device) -> FrameStorage:
    storage = config.storage
    of_frames = space.dtype == np.uint8
    if storage == "auto":  # features do not compress
        storage = "device" if device.type == "cuda" else "lz4" if of_frames else "raw"
    dtype = torch.uint8 if of_frames else torch.float32
    if storage == "raw":
        return RawStorage(capacity, space.shape, dtype=dtype)
    if storage == "lz4":
        return Lz4Storage(capacity, space.shape, dtype=dtype)
    return DeviceStorage(capacity, space.shape, dtype=dtype, device=device)
