"""Collects played frames, to pretrain and probe encoders on.

    python -m scripts.collect_frames --games Pong Breakout               20,000 frames of each, by random play
    python -m scripts.collect_frames --agent runs/NAME --epsilon 0.1     by a trained agent, in the game it plays
    python -m scripts.collect_frames --games Pong --from-dqn-replay DIR  out of the public DQN Replay Dataset

Writes a folder of compressed shards: each frame once, the action taken at it, the reward, where episodes end, and the
console's 128 bytes of memory (see docs/frames.md). Ctrl-C keeps what is written: the same command again plays on
from there, and with more --frames or other --games it adds to the folder. Reading by --from-dqn-replay cannot go on: it
begins again in another --output. Random play takes about a minute for 60,000 frames on two cores.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

from envs import AtariConfig, make_atari
from gen_ssl.frames import FrameStore, FrameStoreWriter, LoggedSteps, logged_checkpoints, read_logged_steps
from scripts.run.command_line import run_command
from scripts.run.config_file import config_to_json, differing_fields
from scripts.run.devices import DeviceName, available_cores, choose_device
from scripts.run.dqn_config import DQNRunConfig
from scripts.run.interruption import Interruption
from scripts.run.progress import Progress
from scripts.run.recorded_play import record_shards, shard_jobs
from scripts.run.run_directory import RunDirectory
from scripts.run.saved_agent import load_agent
from scripts.run.whole_file import write_json

SETTINGS_FILE = "collection.json"


@dataclass(frozen=True, kw_only=True)
class CollectFrames:
    """What to play, by whom, and where to put it."""

    games: tuple[str, ...] = ()  # default: the game of the agent, or Pong
    frames: int = 20_000  # of each game
    agent: Path | None = None  # a run of train_dqn, or a checkpoint in one; without: random play
    epsilon: float = 0.05  # the share of random actions of the agent
    from_dqn_replay: Path | None = None  # read this folder of $store$_*_ckpt.N.gz files instead of playing
    shard_frames: int = 5_000  # frames of a file; no episode is followed for longer
    processes: int = 0  # that play side by side; 0: one per core
    seed: int = 0
    device: DeviceName = "auto"  # on which the agent chooses actions
    output: Path | None = None  # default: a folder below frames/ named after game, player and seed

    def __post_init__(self) -> None:
        for name in ("frames", "shard_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if len(set(self.games)) < len(self.games):
            raise ValueError(f"games must be different ones, got {', '.join(self.games)}")
        if self.processes < 0:
            raise ValueError(f"processes must be at least 0, got {self.processes}")
        if not 0.0 <= self.epsilon <= 1.0:
            raise ValueError(f"epsilon must fall within [0, 1], got {self.epsilon}")
        if self.agent is not None and self.games:
            raise ValueError("--games is for random play: an agent plays the game it was trained on")
        if self.from_dqn_replay is not None and (self.agent is not None or len(self.games) != 1):
            raise ValueError("--from-dqn-replay needs the one game that was logged, as in --games Pong, and no --agent")


def main(command: CollectFrames) -> None:
    """Collects the frames, says what there is now, and prints the folder."""
    all_rules = rules_of_play(command)
    output = command.output or default_output(command, all_rules)
    with Interruption() as interruption:
        if command.from_dqn_replay is not None:
            convert_logged_play(command, all_rules[0], output, interruption)
        else:
            play(command, all_rules, output, interruption)
    if interruption.requested and command.from_dqn_replay is None:
        print("stopped early; the same command again goes on from here")
    if not any(output.glob("*.frames")):
        return
    print(summary(output))
    print(output)


def rules_of_play(command: CollectFrames) -> list[AtariConfig]:
    """Returns the rules of each game to play: the default ones, or those that the agent learned by."""
    if command.agent is None:
        return [AtariConfig(game=game) for game in command.games or ("Pong",)]
    folder = command.agent if command.agent.is_dir() else command.agent.parent
    config = RunDirectory.open(folder).read_config(DQNRunConfig)
    if config.catch:
        raise ValueError(f"frames are collected of Atari games, the agent of {folder} plays Catch")
    return [config.atari]


def default_output(command: CollectFrames, all_rules: list[AtariConfig]) -> Path:
    """Returns a name that says what was played: the same command again takes the same name."""
    games = "-".join(rules.game for rules in all_rules)
    if command.from_dqn_replay is not None:
        return Path("frames") / f"{games}-dqn-replay"
    player = "random" if command.agent is None else f"{command.agent.name}-epsilon-{command.epsilon:g}"
    return Path("frames") / f"{games}-{player}-seed-{command.seed}"


def play(command: CollectFrames, all_rules: list[AtariConfig], output: Path, interruption: Interruption) -> None:
    """Plays what is not there yet."""
    write_settings(command, all_rules, output)
    device = "cpu" if command.agent is None else str(choose_device(command.device))
    jobs = shard_jobs(
        output,
        all_rules,
        num_frames=command.frames,
        shard_frames=command.shard_frames,
        seed=command.seed,
        agent=command.agent,
        epsilon=command.epsilon,
        device=device,
    )
    missing = [job for job in jobs if not job.is_written]
    total = sum(job.num_frames for job in jobs)
    done = total - sum(job.num_frames for job in missing)
    processes = min(command.processes or available_cores(), max(len(missing), 1))
    with Progress(total, first_step=done, unit="frames") as progress:
        for job in record_shards(missing, processes=processes, interruption=interruption):
            done += job.num_frames
            progress.update(done)


def write_settings(command: CollectFrames, all_rules: list[AtariConfig], output: Path) -> None:
    """Notes by which settings the folder was collected; raises ValueError where it was by others."""
    settings: dict[str, object] = {
        "agent": None if command.agent is None else str(command.agent.resolve()),
        "epsilon": 1.0 if command.agent is None else command.epsilon,
        "shard_frames": command.shard_frames,
        "seed": command.seed,
        # The games may differ from one time to the next.
        "rules": config_to_json(replace(all_rules[0], game="Pong")),
    }
    if command.agent is not None:  # a run that trained on is another agent in the same folder
        settings["agent_step"] = load_agent(command.agent, device=torch.device("cpu")).step
    path = output / SETTINGS_FILE
    if path.exists():
        try:
            written = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
        differing = differing_fields(written, settings)
        if differing:
            raise ValueError(
                f"{output} was collected with another {', '.join(differing)}: give the same or another --output"
            )
    else:
        refuse_other_frames(output)
        write_json(path, settings)


def refuse_other_frames(output: Path) -> None:
    """Raises FileExistsError for a folder of frames that came from elsewhere."""
    if any(output.glob("*.frames")):
        raise FileExistsError(f"{output} holds frames that were not collected so: name another --output")


def convert_logged_play(command: CollectFrames, rules: AtariConfig, output: Path, interruption: Interruption) -> None:
    """Writes the first frames of a local copy of the DQN Replay Dataset."""
    assert command.from_dqn_replay is not None
    refuse_other_frames(output)
    pieces = logged_steps(command.from_dqn_replay)
    first = next(pieces)
    num_actions = num_actions_of(rules)
    done = 0
    with (
        Progress(command.frames, unit="frames") as progress,
        FrameStoreWriter(output, frame_shape=first.frames.shape[1:], shard_frames=command.shard_frames) as writer,
    ):
        for piece in chain([first], pieces):
            steps = LoggedSteps(*(part[: command.frames - done] for part in piece))
            writer.append(game=rules.game, num_actions=num_actions, **steps._asdict())
            done += len(steps.actions)
            progress.update(done)
            if done == command.frames or interruption.requested:
                break


def logged_steps(folder: Path) -> Iterator[LoggedSteps]:
    """Yields the steps of all checkpoints in a folder, in order."""
    for checkpoint in logged_checkpoints(folder):
        yield from read_logged_steps(folder, checkpoint)


def num_actions_of(rules: AtariConfig) -> int:
    """Returns the number of actions of a game."""
    with closing(make_atari(rules)) as game:
        assert isinstance(game.action_space, gym.spaces.Discrete)
        return int(game.action_space.n)


def summary(output: Path) -> str:
    """Returns a table of what a folder holds."""
    store = FrameStore.open(output)
    lines = [f"{'game':16}{'frames':>10}{'episodes':>10}{'mean score':>12}{'bytes/frame':>13}"]
    for game, name in enumerate(store.games):
        of_game = store.game_ids == game
        scores = np.bincount(store.episode_ids[of_game], weights=store.rewards[of_game])
        ends = store.episodes.ends[store.episodes.games == game] - 1
        whole = ends[store.terminated[ends]]
        mean = f"{scores[store.episode_ids[whole]].mean():.2f}" if len(whole) else "-"
        size = sum(path.stat().st_size for path in output.glob(f"{name}-*.frames"))
        lines.append(f"{name:16}{of_game.sum():>10,}{len(ends):>10,}{mean:>12}{size / of_game.sum():>13.0f}")
    return "\n".join(lines)


def command() -> None:
    """Runs as a console command."""
    run_command(CollectFrames, main, documentation=__doc__)


if __name__ == "__main__":
    command()
