"""Films an agent at play.

    python -m scripts.watch_agent runs/NAME                     one game, as runs/NAME/videos/....mp4
    python -m scripts.watch_agent runs/NAME --output pong.gif   the same as a GIF
    python -m scripts.watch_agent --game Breakout               random play, without a run

Shows what the emulator renders, at the speed of the game console. Takes a few seconds.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from jaxtyping import Int, UInt8
from torch import Tensor

from envs import AtariConfig
from scripts.run.command_line import run_command
from scripts.run.devices import DeviceName, choose_device, set_num_threads
from scripts.run.dqn_config import DQNRunConfig
from scripts.run.film import Film, film_game
from scripts.run.saved_agent import load_agent
from scripts.run.video import write_video


@dataclass(frozen=True, kw_only=True)
class WatchAgent:
    """Whom to watch, and where to put the film."""

    run: tyro.conf.Positional[Path | None] = None  # a run directory or a checkpoint in one; without: random play
    game: str | None = None  # for random play: any game of ale-py, or Catch (default Pong)
    epsilon: float = 0.01  # the share of random actions
    seed: int = 0
    max_steps: int = 3_000  # the film ends here, or with the game
    device: DeviceName = "auto"
    output: Path | None = None  # .mp4 or .gif; default: an MP4 in the run's folder videos/, or in ./videos/

    def __post_init__(self) -> None:
        if self.run is not None and self.game is not None:
            raise ValueError("--game is for random play: a run plays the game it was trained on")
        if self.output is not None and self.output.suffix not in (".mp4", ".gif"):
            raise ValueError(f"a video ends in .mp4 or .gif, got {self.output.name!r}")
        if self.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {self.max_steps}")
        if not 0.0 <= self.epsilon <= 1.0:
            raise ValueError(f"epsilon must fall within [0, 1], got {self.epsilon}")


class Spectator:
    """Never chooses: under epsilon 1 every action is random anyway."""

    def act(self, observations: UInt8[Tensor, "n c h w"]) -> Int[Tensor, " n"]:
        """Returns action 0 everywhere."""
        return torch.zeros(len(observations), dtype=torch.int64)


def main(command: WatchAgent) -> None:
    """Plays one game and writes the film."""
    set_num_threads(1)  # one observation at a time is too little work for more
    device = choose_device(command.device)
    if command.run is None:
        game = command.game or "Pong"
        film = film_random_play(game, command)
        default = Path("videos") / f"random-{game}-seed-{command.seed}.mp4"
    else:
        saved = load_agent(command.run, device=device)
        film = film_game(
            saved.agent, saved.config, seed=command.seed, epsilon=command.epsilon, max_steps=command.max_steps
        )
        default = saved.directory.videos / f"step-{saved.step}-seed-{command.seed}.mp4"
    steps = len(film.frames) - 1
    print(f"scored {film.score:g} in {steps:,} steps ({steps / film.frames_per_second:.0f} seconds)")
    print(write_video(command.output or default, film.frames, frames_per_second=film.frames_per_second))


def film_random_play(game: str, command: WatchAgent) -> Film:
    """Films uniformly random play."""
    if game == "Catch":
        config = DQNRunConfig(catch=True)
    else:
        config = DQNRunConfig(atari=AtariConfig(game=game))
    return film_game(Spectator(), config, seed=command.seed, epsilon=1.0, max_steps=command.max_steps)


def command() -> None:
    """Runs as a console command."""
    run_command(WatchAgent, main, documentation=__doc__)


if __name__ == "__main__":
    command()
