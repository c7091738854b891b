"""A vector environment whose state can be saved, although the one inside cannot save its own.

What an environment plays is a function of the seed it was last given and of its actions since. So these are written
down, and a state is restored by giving the seed and playing the actions again; sticky actions and random starts come
back too, because the emulator draws them from that seed. To bound the log, an environment is seeded afresh at the end
of an episode once its log is long. Not at every end: ale-py takes about 80 ms to seed an emulator, as long as some 500
steps of a vector on two cores.
"""

import base64
import zlib
from collections.abc import Callable
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from jaxtyping import Bool, Float32, Int64, Integer, Shaped, UInt8

from .action_log import ActionLog

Frames = Shaped[np.ndarray, "n c h w"]


class SeededEpisodes(VectorEnv[Frames, Integer[np.ndarray, "n"], Any]):
    """Adds known seeds, and a state that can be saved, to a vector environment.

    Wraps `ale_py.AtariVectorEnv` or `gymnasium.vector.SyncVectorEnv` in same-step autoreset mode, with at most 256
    discrete actions. The k-th seed of environment e is a function of (seed, e, k) alone: neither the number of
    environments nor that of threads changes what the first episodes of an environment are.

    Where an episode ends, `step` returns the first frame of the next one. `info` always has, for every environment:
    "lives" of the running episode; "life_lost", whether they fell in this step, within an episode; "final_obs", the
    frames to which this step led; "_final_obs", whether an episode ended here, so that they differ from those returned.

    Args:
        env: the environment to wrap, not reset yet.
        seed: what all seeds derive from.
        reseed_every_steps: an environment is seeded at the first end of an episode after so many of its steps. Small
            values restore a state sooner, large ones step faster.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], *, seed: int = 0, reseed_every_steps: int = 20_000) -> None:
        if not isinstance(env.single_action_space, gym.spaces.Discrete) or env.single_action_space.n > 256:
            raise ValueError(f"SeededEpisodes needs at most 256 discrete actions, got {env.single_action_space}")
        # Not from env.metadata: AtariVectorEnv writes its mode into the one that all vector environments share.
        if (mode := getattr(env, "autoreset_mode", None)) != AutoresetMode.SAME_STEP:
            raise ValueError(f"SeededEpisodes needs an environment in {AutoresetMode.SAME_STEP}, got {mode}")
        if reseed_every_steps < 1:
            raise ValueError(f"reseed_every_steps must be at least 1, got {reseed_every_steps}")
        _check_seed(seed)
        self.env = env
        self.num_envs = env.num_envs
        self.metadata = {**env.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = env.single_observation_space
        self.observation_space = env.observation_space
        self.single_action_space = env.single_action_space
        self.action_space = env.action_space
        self._num_actions = int(env.single_action_space.n)
        self._reseed_every_steps = reseed_every_steps
        self._seed = seed
        self._num_seedings = np.zeros(self.num_envs, dtype=np.int64)
        self._lives = np.zeros(self.num_envs, dtype=np.int64)
        self._log = ActionLog(self.num_envs)
        self._frames: Frames | None = None

    @property
    def seeds(self) -> Int64[np.ndarray, "n"]:
        """The seed that each environment was last given."""
        numbers = enumerate(self._num_seedings)
        return np.array([_derived_seed(self._seed, env, int(number)) for env, number in numbers], dtype=np.int64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frames, dict[str, Any]]:
        """Seeds every environment and starts an episode in it; with a seed, as a new SeededEpisodes of that seed."""
        if options:
            raise ValueError(f"SeededEpisodes takes no reset options, got {sorted(options)}")
        if seed is not None:
            _check_seed(seed)
            self._seed = seed
            self._num_seedings[:] = 0
        self._frames = self._reseed(np.ones(self.num_envs, dtype=np.bool_))
        return self._frames, self._info_without_step(self._frames)

    def step(
        self, actions: Integer[np.ndarray, "n"]
    ) -> tuple[Frames, Float32[np.ndarray, "n"], Bool[np.ndarray, "n"], Bool[np.ndarray, "n"], dict[str, Any]]:
        """Takes one action in every environment; returns frames, raw rewards, terminated, truncated and info."""
        if self._frames is None:
            raise RuntimeError("SeededEpisodes was stepped before it was reset: call reset first")
        self._check_actions(actions)
        frames, rewards, terminated, truncated, info = self.env.step(actions.astype(np.int64, copy=False))
        self._log.append(actions)
        ended = terminated | truncated
        lives = self._lives_in(info)
        # Where an episode ended, these are already the lives of the next one.
        life_lost = (lives < self._lives) & ~ended
        self._lives = lives
        final_frames = frames
        if ended.any():
            final_frames = frames.copy()
            final_frames[ended] = np.stack(info["final_obs"][ended])
            if (due := ended & (self._log.lengths >= self._log_limits())).any():
                frames = self._reseed(due)
        self._frames = frames
        info = {"lives": self._lives, "life_lost": life_lost, "final_obs": final_frames, "_final_obs": ended}
        return frames, rewards.astype(np.float32), terminated, truncated, info

    def state_dict(self) -> dict[str, Any]:
        """Returns all that restores this state, as ints, strings and lists of them: small, and safe to load."""
        if self._frames is None:
            raise RuntimeError("SeededEpisodes has no state before its first reset")
        return {
            "seed": self._seed,
            "num_seedings": self._num_seedings.tolist(),
            "actions": [_packed(self._log.actions(env)) for env in range(self.num_envs)],
            "frame_checksums": _checksums(self._frames),
        }

    def load_state_dict(
        self, state: dict[str, Any], *, on_step: Callable[[int], None] | None = None
    ) -> tuple[Frames, dict[str, Any]]:
        """Plays the logged actions of a saved state again and returns its frames and info, as `reset` would.

        Calls `on_step(steps taken)` after each of `steps_to_load(state)` steps. Raises ValueError if the state is of
        another number of environments or has actions that this one lacks, or if the frames come out differently:
        another game, other rules, another version of the emulator.
        """
        if len(state["actions"]) != self.num_envs:
            raise ValueError(f"the saved state has {len(state['actions'])} environments, this one {self.num_envs}")
        logs = [_unpacked(actions) for actions in state["actions"]]
        # ale-py's threads would wait forever for an environment that refused its action.
        if (largest := max(int(log.max(initial=0)) for log in logs)) >= self._num_actions:
            raise ValueError(
                f"the saved state has actions up to {largest}, this environment takes 0..{self._num_actions - 1}: "
                "the state was saved from another game"
            )
        self._seed = state["seed"]
        self._num_seedings[:] = state["num_seedings"]
        frames = self._replay(logs, on_step)
        if _checksums(frames) != state["frame_checksums"]:
            raise ValueError(
                "playing the saved actions again led to other frames: the state was saved from another game, "
                "with other rules, or by another version of the emulator"
            )
        self._frames = frames
        return frames, self._info_without_step(frames)

    @staticmethod
    def steps_to_load(state: dict[str, Any]) -> int:
        """Returns how many steps `load_state_dict` takes: as many as the longest log has."""
        return max(len(_unpacked(actions)) for actions in state["actions"])

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the wrapped environment."""
        self.env.close(**kwargs)

    def _log_limits(self) -> Int64[np.ndarray, "n"]:
        # The first limits are staggered, so that the environments are not all seeded at the same time ever after.
        staggered = self._reseed_every_steps * np.arange(1, self.num_envs + 1) // self.num_envs
        return np.where(self._num_seedings == 1, staggered, self._reseed_every_steps)

    def _reseed(self, mask: Bool[np.ndarray, "n"]) -> Frames:
        self._num_seedings[mask] += 1
        return self._reset_where(mask)

    def _reset_where(self, mask: Bool[np.ndarray, "n"]) -> Frames:
        seeds: Any = self.seeds
        if isinstance(self.env, ale_py.AtariVectorEnv):  # wants the seeds of the chosen ones only
            seeds = seeds[mask]
        else:  # wants a list with one for every environment
            seeds = seeds.tolist()
        # The frames of all environments come back, unchanged where the mask is False: nothing needs merging.
        frames, info = self.env.reset(seed=seeds, options={"reset_mask": mask})
        self._lives = np.where(mask, self._lives_in(info), self._lives)
        self._log.begin(mask)
        return frames  # type: ignore[no-any-return]

    def _replay(self, logs: list[UInt8[np.ndarray, "_"]], on_step: Callable[[int], None] | None) -> Frames:
        # All environments step together, so those with shorter logs idle until as many steps are left.
        num_steps = max(map(len, logs))
        starts = np.array([num_steps - len(log) for log in logs])
        actions = np.zeros((num_steps, self.num_envs), dtype=np.int64)
        for env, log in enumerate(logs):
            actions[starts[env] :, env] = log
        self._log = ActionLog(self.num_envs)
        self.env.reset()  # ale-py resets some environments only after it has reset all
        for step in range(num_steps + 1):
            if (mask := starts == step).any():
                frames = self._reset_where(mask)
            if step < num_steps:
                frames, _, _, _, info = self.env.step(actions[step])
                self._log.append(actions[step])
                self._lives = self._lives_in(info)
                if on_step is not None:
                    on_step(step + 1)
        return frames

    def _lives_in(self, info: dict[str, Any]) -> Int64[np.ndarray, "n"]:
        lives = info.get("lives")  # games without lives never lose one
        return np.zeros(self.num_envs, dtype=np.int64) if lives is None else lives.astype(np.int64)

    def _info_without_step(self, frames: Frames) -> dict[str, Any]:
        nowhere = np.zeros(self.num_envs, dtype=np.bool_)
        return {"lives": self._lives, "life_lost": nowhere, "final_obs": frames, "_final_obs": nowhere}

    def _check_actions(self, actions: Integer[np.ndarray, "n"]) -> None:
        if actions.shape != (self.num_envs,):
            raise ValueError(f"actions must have the shape {(self.num_envs,)}, got {actions.shape}")
        # ale-py's threads would wait forever for an environment that refused its action.
        if actions.min() < 0 or actions.max() >= self._num_actions:
            raise ValueError(f"actions must lie in 0..{self._num_actions - 1}, got {actions.min()}..{actions.max()}")


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")


def _derived_seed(seed: int, env: int, number: int) -> int:
    # 31 bits: ale-py takes a signed 32-bit seed, and a negative one leaves the emulator as it is.
    return int(np.random.SeedSequence((seed, env, number)).generate_state(1)[0] >> 1)


def _packed(actions: UInt8[np.ndarray, "t"]) -> str:
    return base64.b64encode(zlib.compress(actions.tobytes())).decode()


def _unpacked(actions: str) -> UInt8[np.ndarray, "t"]:
    return np.frombuffer(zlib.decompress(base64.b64decode(actions)), dtype=np.uint8)


def _checksums(frames: Frames) -> list[int]:
    return [zlib.crc32(frame.tobytes()) for frame in frames]
