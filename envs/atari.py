"""Atari games with one set of rules: a single environment, and many in C++ that emit one new frame per step.

Both follow Machado et al. 2018, "Revisiting the Arcade Learning Environment"; docs/envs.md has the rules in one table.
Frames are uint8 and grey, (C, H, W) with C = 1 for one frame; a stack of S frames is (S, H, W), oldest first.
"""

from dataclasses import dataclass
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

from .atari_games import rom_name
from .seeded_episodes import SeededEpisodes
from .wrappers.fire_at_reset import FireAtReset
from .wrappers.frame_limit import FrameLimit
from .wrappers.life_loss import LifeLossSignal
from .wrappers.noop_start import NoopStart

_ATARI_FRAMES_PER_SECOND = 60


@dataclass(frozen=True, kw_only=True)
class AtariConfig:
    """The rules of play. The defaults are Machado et al. 2018's; sticky_action_probability=0 is the Nature protocol."""

    game: str = "Pong"
    """A game's name as in "ALE/MsPacman-v5": one of envs.ATARI_GAMES."""
    frame_skip: int = 4
    """Emulator frames per step; the action is repeated, rewards are summed, the last two frames' maximum is seen."""
    frame_size: int = 84
    """Height and width, in pixels, to which the screen is shrunk."""
    sticky_action_probability: float = 0.25
    """Probability, in each emulator frame, that the previous action is carried out instead of the chosen one."""
    max_noop_steps: int = 30
    """An episode starts after a random number of idle emulator frames, uniform over 0..max_noop_steps."""
    fire_at_reset: bool = False
    """Press FIRE once at the start of an episode, in games that have FIRE among their actions."""
    full_action_space: bool = False
    """Offer all 18 actions instead of those that have an effect in the game."""
    max_frames_per_episode: int = 108_000  # 30 minutes of play at 60 frames per second
    """Emulator frames, counted after the idle start, at which an episode is truncated."""

    def __post_init__(self) -> None:
        rom_name(self.game)
        for name in ("frame_skip", "frame_size", "max_frames_per_episode"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_noop_steps < 0:
            raise ValueError(f"max_noop_steps must be at least 0, got {self.max_noop_steps}")
        if not 0 <= self.sticky_action_probability <= 1:
            raise ValueError(
                f"sticky_action_probability must lie between 0 and 1, got {self.sticky_action_probability}"
            )


def make_atari(
    config: AtariConfig, *, stack: int = 4, render_mode: str | None = None
) -> gym.Env[np.ndarray[Any, np.dtype[np.uint8]], np.int64]:
    """Returns one game whose observations are the newest `stack` frames, uint8 of shape (stack, H, W), oldest first.

    At the start of an episode the stack repeats the first frame. `info` has "lives" and "life_lost"; a lost life never
    ends an episode. With render_mode="rgb_array", `render` gives the screen in colour.
    """
    if stack < 1:
        raise ValueError(f"stack must be at least 1, got {stack}")
    _silence_banner()
    env: gym.Env[Any, Any] = ale_py.AtariEnv(
        rom_name(config.game),
        obs_type="grayscale",
        frameskip=1,  # AtariPreprocessing skips, to see the last two frames
        repeat_action_probability=config.sticky_action_probability,
        full_action_space=config.full_action_space,
        render_mode=render_mode,
    )
    fire_frames = 0
    if config.fire_at_reset and "FIRE" in env.get_action_meanings():  # type: ignore[attr-defined]
        env = FireAtReset(env)
        fire_frames = 1
    env = NoopStart(env, max_frames=config.max_noop_steps, frames_taken=fire_frames)
    env = FrameLimit(env, max_frames=config.max_frames_per_episode)
    env = AtariPreprocessing(env, noop_max=0, frame_skip=config.frame_skip, screen_size=config.frame_size)
    env = FrameStackObservation(LifeLossSignal(env), stack_size=stack, padding_type="reset")
    # One call of step is one frame of a video; at this rate it plays as fast as the console did.
    env.metadata = {**env.metadata, "render_fps": _ATARI_FRAMES_PER_SECOND / config.frame_skip}
    return env


def make_atari_vector(
    config: AtariConfig, *, num_envs: int, num_threads: int = 0, seed: int = 0, reseed_every_steps: int = 20_000
) -> SeededEpisodes:
    """Returns `num_envs` copies of one game, stepped by `num_threads` C++ threads (0: one per processor core).

    Its frames are uint8 of shape (num_envs, 1, H, W): the newest one only, stacking belongs to whoever stores them.
    """
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}")
    if num_threads < 0:
        raise ValueError(f"num_threads must be at least 0, got {num_threads}")
    _silence_banner()
    env = ale_py.AtariVectorEnv(**atari_vector_arguments(config), num_envs=num_envs, num_threads=num_threads)
    return SeededEpisodes(env, seed=seed, reseed_every_steps=reseed_every_steps)


def atari_vector_arguments(config: AtariConfig) -> dict[str, Any]:
    """Returns the arguments of `ale_py.AtariVectorEnv` that give a config's rules with one frame per observation."""
    return {
        "game": rom_name(config.game),
        "frameskip": config.frame_skip,
        "img_height": config.frame_size,
        "img_width": config.frame_size,
        "stack_num": 1,
        "repeat_action_probability": config.sticky_action_probability,
        "noop_max": config.max_noop_steps + 1,  # the C++ draws from 0 .. noop_max - 1
        "use_fire_reset": config.fire_at_reset,
        "full_action_space": config.full_action_space,
        "max_num_frames_per_episode": config.max_frames_per_episode,
        "reward_clipping": False,
        # True would make `terminated` mean a lost life or the end, and nothing would tell which.
        "life_loss_info": False,
        "episodic_life": False,  # True would restart the whole game at every lost life
        "autoreset_mode": gym.vector.AutoresetMode.SAME_STEP,
    }


def _silence_banner() -> None:
    # ALE greets on stderr when an emulator is made; errors are still shown.
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
