"""Counts the steps in which the C++ vector environment and `make_atari` differ when both are given the same actions.

    python -m scripts.verify_envs

Plays ten games at random in both. The single games are made of Gymnasium's wrappers and ours in Python, the vector is
ale-py's; every frame, reward, end, truncation, number of lives and lost life is compared bit for bit, across the ends
of episodes. Random starts are off, because the two draw them from different generators. About two minutes on one core;
expect 0 differences in every row. With --sticky-action-probability 0.25 the emulators of both are seeded alike, so that
their sticky actions can be compared too.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from envs import AtariConfig, SeededEpisodes, make_atari, make_atari_vector
from scripts.run.benchmark_records import BenchmarkRecord, write_records
from scripts.run.command_line import run_command

TEN_GAMES = (
    "Alien",
    "BankHeist",  # is played on with no lives left
    "BattleZone",
    "Breakout",
    "Freeway",  # never ends by itself within these steps
    "MsPacman",
    "Pong",
    "Qbert",
    "Seaquest",
    "SpaceInvaders",
)


@dataclass(frozen=True, kw_only=True)
class VerifyEnvs:
    """What to play, and how much of it."""

    games: tuple[str, ...] = TEN_GAMES
    steps: int = 8_000  # of each game, over all environments
    num_envs: int = 4
    sticky_action_probability: float = 0.0
    max_frames_per_episode: int = 7_001  # then an episode is truncated, here in the middle of a step
    seed: int = 0
    output: Path | None = None  # JSON file for the counts


class Comparison(NamedTuple):
    """What was compared, and in how many of the steps anything differed."""

    steps: int
    terminated: int
    truncated: int
    lives_lost: int
    differences: int


def main(config: VerifyEnvs) -> None:
    """Plays every game, and prints and writes the counts."""
    print("| game | steps | ends | truncations | lives lost | different steps |\n|---|---:|---:|---:|---:|---:|")
    results = {}
    for game in config.games:
        rules = AtariConfig(
            game=game,
            sticky_action_probability=config.sticky_action_probability,
            max_noop_steps=0,
            max_frames_per_episode=config.max_frames_per_episode,
        )
        vector = make_atari_vector(rules, num_envs=config.num_envs, num_threads=1, seed=config.seed)
        twins = [make_atari(rules, stack=1) for _ in range(config.num_envs)]
        result = compare(vector, twins, steps=config.steps // config.num_envs, seed=config.seed)
        print(f"| {game} | {' | '.join(f'{count:,}' for count in result)} |", flush=True)
        results[game] = result
    print(f"| all | {' | '.join(f'{sum(counts):,}' for counts in zip(*results.values(), strict=True))} |")
    if config.output is not None:
        write_records(config.output, records(results, config))
        print(f"wrote {config.output}")


def compare(vector: SeededEpisodes, twins: list[gym.Env[Any, Any]], *, steps: int, seed: int) -> Comparison:
    """Plays `steps` random steps in each environment and its twin, and counts those in which anything differs."""
    frames, _ = vector.reset()
    seeds = vector.seeds
    terminated_count = truncated_count = lives_lost = 0
    different = np.zeros((steps + 1, len(twins)), dtype=np.bool_)  # row 0: the first frames
    for env, twin in enumerate(twins):
        seed_emulator(twin, int(seeds[env]))
        different[0, env] = not np.array_equal(frames[env], twin.reset()[0])
    generator = np.random.default_rng(seed)
    num_actions = vector.action_space.nvec  # type: ignore[attr-defined]
    for step in range(1, steps + 1):
        actions = generator.integers(num_actions)
        frames, rewards, terminated, truncated, info = vector.step(actions)
        for env, twin in enumerate(twins):
            frame, reward, ended, cut, twin_info = twin.step(actions[env])
            same = np.array_equal(info["final_obs"][env], frame) and twin_info["life_lost"] == info["life_lost"][env]
            same &= (reward, ended, cut) == (rewards[env], terminated[env], truncated[env])
            if ended or cut:
                if vector.seeds[env] != seeds[env]:
                    seed_emulator(twin, int(vector.seeds[env]))
                frame, twin_info = twin.reset()
            same &= np.array_equal(frames[env], frame) and twin_info["lives"] == info["lives"][env]
            different[step, env] = not same
        seeds = vector.seeds
        terminated_count += int(terminated.sum())
        truncated_count += int(truncated.sum())
        lives_lost += int(info["life_lost"].sum())
    return Comparison(steps * len(twins), terminated_count, truncated_count, lives_lost, int(different.sum()))


def seed_emulator(env: gym.Env[Any, Any], seed: int) -> None:
    """Gives an emulator exactly this seed; `reset(seed=...)` would give it a number derived from it."""
    atari: Any = env.unwrapped
    atari.ale.setInt("random_seed", seed)
    atari.load_game()


def records(results: dict[str, Comparison], config: VerifyEnvs) -> list[BenchmarkRecord]:
    """Returns one record of different steps for every game."""
    return [
        BenchmarkRecord(
            benchmark="verify_envs",
            implementation="cartridge",
            setting=f"{game}, sticky {config.sticky_action_probability}, no random starts",
            value=float(result.differences),
            unit=f"different of {result.steps} steps",
        )
        for game, result in results.items()
    ]


if __name__ == "__main__":
    run_command(VerifyEnvs, main, documentation=__doc__)
