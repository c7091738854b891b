"""Measures how many steps a second Atari environments take: ours, ale-py's and Gymnasium's vectors, and EnvPool's.

    python -m scripts.benchmark_envs                                   three minutes on two cores
    python -m scripts.benchmark_envs --games Pong Breakout Qbert --output envs.json

All play the same game by the same rules with the same random actions, and give one 84x84 grey frame per step; they take
turns, so that whatever else the machine does meets all of them. A step is one action of one environment, of four
emulator frames. Ours wraps ale-py's vector: the last row is the median over the rounds of the ratio between the two.
Expect 0.95 or more there. EnvPool takes part where it is installed (`pip install envpool`).
"""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import ale_py
import gymnasium as gym
import numpy as np
from gymnasium.wrappers import AtariPreprocessing
from jaxtyping import Integer

from envs import AtariConfig, make_atari, make_atari_vector
from envs.atari import atari_vector_arguments
from scripts.run.benchmark_records import BenchmarkRecord, records_table, summarise, write_records
from scripts.run.command_line import run_command
from scripts.run.progress import in_turns

Name = Literal["gymnasium-async", "gymnasium-sync", "envpool", "ale-py", "cartridge"]


@dataclass(frozen=True, kw_only=True)
class BenchmarkEnvs:
    """What to measure."""

    games: tuple[str, ...] = ("Pong",)
    implementations: tuple[Name, ...] = get_args(Name)
    num_envs: int = 64
    num_threads: int = 2  # of the C++ ones; Gymnasium's async vector takes a process for each environment
    rounds: int = 5  # in each round, every implementation has one turn
    seconds_per_turn: float = 5.0
    sticky_action_probability: float = 0.25
    seed: int = 0
    output: Path | None = None  # JSON file for the records

    def __post_init__(self) -> None:
        for name in ("num_envs", "num_threads", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seconds_per_turn <= 0:
            raise ValueError(f"seconds_per_turn must be positive, got {self.seconds_per_turn}")

    def rules(self, game: str) -> AtariConfig:
        """Returns the rules by which all play a game."""
        return AtariConfig(game=game, sticky_action_probability=self.sticky_action_probability)


@runtime_checkable
class Vector(Protocol):
    """What is measured."""

    def reset(self, *, seed: Any = None) -> Any:
        """Starts an episode in every environment."""
        ...

    def step(self, actions: Any) -> Any:
        """Takes one action in every environment."""
        ...

    def close(self) -> None:
        """Ends threads and processes."""
        ...


class Implementation(NamedTuple):
    """A way to step many games: the package, what of it, and its maker from rules, environments and threads."""

    package: str
    part: str
    make: Callable[[AtariConfig, int, int], Vector]


def main(config: BenchmarkEnvs) -> None:
    """Measures every game; prints the table and writes the records."""
    for game in config.games:
        config.rules(game)  # refuses a name before minutes are spent on the others
    records = [record for game in config.games for record in measure(game, config)]
    print(records_table(records))
    if config.output is not None:
        write_records(config.output, records)
        print(f"wrote {config.output}")


def measure(game: str, config: BenchmarkEnvs) -> list[BenchmarkRecord]:
    """Lets the implementations take turns at one game; returns their steps a second and ours over ale-py's."""
    vectors: dict[Name, Vector] = {}
    for name in config.implementations:
        if name == "envpool" and importlib.util.find_spec("envpool") is None:
            print("envpool is not installed: left out")
            continue
        vectors[name] = IMPLEMENTATIONS[name].make(config.rules(game), config.num_envs, config.num_threads)
        vectors[name].reset()
    num_actions = int(make_atari(config.rules(game)).action_space.n)  # type: ignore[attr-defined]
    actions = np.random.default_rng(config.seed).integers(num_actions, size=(4096, config.num_envs))
    speeds: dict[Name, list[float]] = {name: [] for name in vectors}
    for name, vector in in_turns(vectors.items(), config.rounds):
        speeds[name].append(steps_per_second(vector.step, actions, config.seconds_per_turn))
    for vector in vectors.values():
        vector.close()
    return summaries(game, speeds, config)


def steps_per_second(step: Callable[[Any], object], actions: Integer[np.ndarray, "t n"], seconds: float) -> float:
    """Calls `step` for so many seconds, and returns the steps of all environments over the time they took."""
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        step(actions[count % len(actions)])
        count += 1
    return float(count * actions.shape[1] / elapsed)


def summaries(game: str, speeds: dict[Name, list[float]], config: BenchmarkEnvs) -> list[BenchmarkRecord]:
    """Returns the medians of the speeds, and of the ratios between ours and ale-py's."""
    setting = f"{game}, {config.num_envs} envs, {config.num_threads} threads"
    records = []
    for name, values in speeds.items():
        package, part, _ = IMPLEMENTATIONS[name]
        of_part = f"{part}, {setting}"
        records.append(summarise(values, benchmark="envs", implementation=package, setting=of_part, unit="steps/s"))
    if "cartridge" in speeds and "ale-py" in speeds:
        ratios = [ours / theirs for ours, theirs in zip(speeds["cartridge"], speeds["ale-py"], strict=True)]
        unit = "times ale-py's steps/s"
        records.append(summarise(ratios, benchmark="envs", implementation="cartridge", setting=setting, unit=unit))
    return records


def make_ours(rules: AtariConfig, num_envs: int, num_threads: int) -> Vector:
    """Returns our vector environment."""
    return make_atari_vector(rules, num_envs=num_envs, num_threads=num_threads)


def make_ale_py(rules: AtariConfig, num_envs: int, num_threads: int) -> Vector:
    """Returns ale-py's C++ vector environment, with the arguments that ours gives it."""
    return ale_py.AtariVectorEnv(**atari_vector_arguments(rules), num_envs=num_envs, num_threads=num_threads)


def make_gymnasium_env(rules: AtariConfig) -> gym.Env[Any, Any]:
    """Returns one game made of Gymnasium's wrappers only."""
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # instead of a greeting from each of them
    env = gym.make(
        f"ALE/{rules.game}-v5",
        frameskip=1,
        repeat_action_probability=rules.sticky_action_probability,
        max_num_frames_per_episode=rules.max_frames_per_episode,
        disable_env_checker=True,
    )
    return AtariPreprocessing(env, frame_skip=rules.frame_skip, noop_max=rules.max_noop_steps)


def make_gymnasium_sync(rules: AtariConfig, num_envs: int, num_threads: int) -> Vector:
    """Returns Gymnasium's loop over environments in one thread."""
    return gym.vector.SyncVectorEnv([partial(make_gymnasium_env, rules)] * num_envs)


def make_gymnasium_async(rules: AtariConfig, num_envs: int, num_threads: int) -> Vector:
    """Returns Gymnasium's environments in a process each."""
    return gym.vector.AsyncVectorEnv([partial(make_gymnasium_env, rules)] * num_envs)


def make_envpool(rules: AtariConfig, num_envs: int, num_threads: int) -> Vector:
    """Returns EnvPool's C++ vector environment; it counts its episode limit in steps."""
    import envpool

    vector: Vector = envpool.make_gymnasium(
        f"{rules.game}-v5",
        num_envs=num_envs,
        num_threads=num_threads,
        stack_num=1,
        frame_skip=rules.frame_skip,
        repeat_action_probability=rules.sticky_action_probability,
        noop_max=rules.max_noop_steps,
        use_fire_reset=rules.fire_at_reset,
        max_episode_steps=rules.max_frames_per_episode // rules.frame_skip,
    )
    return vector


# In the order in which they are made: processes are best forked before the others have started threads.
IMPLEMENTATIONS: dict[Name, Implementation] = {
    "gymnasium-async": Implementation("gymnasium", "AsyncVectorEnv", make_gymnasium_async),
    "gymnasium-sync": Implementation("gymnasium", "SyncVectorEnv", make_gymnasium_sync),
    "envpool": Implementation("envpool", "synchronous", make_envpool),
    "ale-py": Implementation("ale-py", "AtariVectorEnv", make_ale_py),
    "cartridge": Implementation("cartridge", "make_atari_vector", make_ours),
}


if __name__ == "__main__":
    run_command(BenchmarkEnvs, main, documentation=__doc__)
