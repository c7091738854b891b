"""Builds the agent of a saved run again, to evaluate or watch it."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import torch

from agents import DQN

from .checkpoint import load_checkpoint
from .dqn_assembly import build_agent, build_games, with_kept_encoder
from .dqn_config import DQNRunConfig
from .run_directory import RunDirectory


class SavedAgent(NamedTuple):
    """An agent as it was saved, and the run it comes from."""

    agent: DQN
    config: DQNRunConfig
    step: int
    directory: RunDirectory


def load_agent(path: Path, *, device: torch.device) -> SavedAgent:
    """Returns the agent of a run directory, or of a checkpoint that lies in one.

    Raises FileNotFoundError where there is none, and ValueError where the checkpoint does not fit the configuration.
    """
    directory = RunDirectory.open(path if path.is_dir() else path.parent)
    checkpoint = directory.checkpoint if path.is_dir() else path
    try:
        config = directory.read_config(DQNRunConfig)
    except ValueError as error:
        raise ValueError(f"{directory.path} is not a run of train_dqn: {error}") from error
    training = load_checkpoint(checkpoint)["training"]
    games = build_games(config, num_envs=1, purpose="evaluation")
    try:
        # Compiling pays for itself over thousands of updates; an agent that only acts makes none.
        built = dataclasses.replace(with_kept_encoder(config, directory.path), compile="off")
        agent = build_agent(built, games, device=device)
        agent.load_state_dict(training["agent"])
    except RuntimeError as error:
        raise ValueError(
            f"the networks saved in {checkpoint} are not those of its {directory.path}/config.json"
        ) from error
    finally:
        games.close()
    return SavedAgent(agent=agent, config=config, step=training["steps"], directory=directory)
