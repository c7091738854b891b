"""Vector environments whose every episode starts from a known seed, so that their state can be saved.

Neither ale-py's C++ emulators nor Gymnasium's vector environments can save their state. But an episode is a function of
its seed and its actions: SeededEpisodes gives each episode a seed of its own, writes the actions down, and restores
a state by playing them again. Sticky actions come back too, because the emulator draws them from the same seed.
"""

import zlib
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from jaxtyping import Bool, Float32, Int64, Integer, Shaped, UInt8

from .action_log import ActionLog

Frames = Shaped[np.ndarray, "n c h w"]


class SeededEpisodes(VectorEnv[Frames, Integer[np.ndarray, "n"], Any]):
    """Runs a vector environment with known episode seeds, same-step autoreset, and a state that can be saved.

    Wraps `ale_py.AtariVectorEnv` in its next-step mode, or `gymnasium.vector.SyncVectorEnv` with autoreset disabled;
    actions must be discrete, at most 256 of them. Episode i of environment e starts from a seed derived from
    (seed, e, i) alone: neither the number of environments nor of threads changes what an environment plays.

    Where an episode ends, `step` returns the first frame of the next one; `info` always has, one entry per environment:
    "lives" of the running episode, "life_lost" in this step, "final_obs", the frames this step really led to, and
    "_final_obs", whether the episode ended here, so that "final_obs" differs from the returned frames.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], *, seed: int = 0) -> None:
        if not isinstance(env.single_action_space, gym.spaces.Discrete) or env.single_action_space.n > 256:
            raise ValueError(f"SeededEpisodes needs at most 256 discrete actions, got {env.single_action_space}")
        expected = AutoresetMode.NEXT_STEP if isinstance(env, ale_py.AtariVectorEnv) else AutoresetMode.DISABLED
        if env.metadata.get("autoreset_mode") != expected:
            found = env.metadata.get("autoreset_mode")
            raise ValueError(f"SeededEpisodes needs a {type(env).__name__} in {expected}, got {found}")
        _check_seed(seed)
        self.env = env
        self.num_envs = env.num_envs
        self.metadata = {**env.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = env.single_observation_space
        self.observation_space = env.observation_space
        self.single_action_space = env.single_action_space
        self.action_space = env.action_space
        self._num_actions = int(env.single_action_space.n)
        self._seed = seed
        self._started = False
        self._episodes = np.full(self.num_envs, -1, dtype=np.int64)
        self._episode_seeds = np.zeros(self.num_envs, dtype=np.int64)
        self._lives = np.zeros(self.num_envs, dtype=np.int64)
        self._log = ActionLog(self.num_envs)
        self._frames: Frames | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frames, dict[str, Any]]:
        """Starts the next episode of every environment, or, with a seed, that seed's first episodes."""
        if options:
            raise ValueError(f"SeededEpisodes takes no reset options, got {sorted(options)}")
        if seed is not None:
            _check_seed(seed)
            self._seed = seed
            self._episodes[:] = -1
        self._frames = self._begin_episodes(np.ones(self.num_envs, dtype=np.bool_))
        nowhere = np.zeros(self.num_envs, dtype=np.bool_)
        return self._frames, self._info(life_lost=nowhere, final_frames=self._frames, ended=nowhere)

    def step(
        self, actions: Integer[np.ndarray, "n"]
    ) -> tuple[Frames, Float32[np.ndarray, "n"], Bool[np.ndarray, "n"], Bool[np.ndarray, "n"], dict[str, Any]]:
        """Takes one action in every environment; returns frames, raw rewards, terminated, truncated and info."""
        if self._frames is None:
            raise RuntimeError("SeededEpisodes was stepped before it was reset: call reset first")
        self._check_actions(actions)
        final_frames, rewards, terminated, truncated, info = self.env.step(actions.astype(np.int64, copy=False))
        self._log.append(actions)
        lives = self._lives_in(info)
        life_lost = lives < self._lives
        self._lives = lives
        ended = terminated | truncated
        # The reset returns the frames of all environments, those that play on included: nothing needs merging.
        self._frames = self._begin_episodes(ended) if ended.any() else final_frames
        info = self._info(life_lost=life_lost, final_frames=final_frames, ended=ended)
        return self._frames, rewards.astype(np.float32), terminated, truncated, info

    def state_dict(self) -> dict[str, Any]:
        """Returns all that restores this state, as ints, strings and lists of them: small, and safe to load."""
        if self._frames is None:
            raise RuntimeError("SeededEpisodes has no state before its first reset")
        return {
            "seed": self._seed,
            "episodes": self._episodes.tolist(),
            "episode_seeds": self._episode_seeds.tolist(),
            "actions": [self._log.actions(env).tobytes().hex() for env in range(self.num_envs)],
            "frame_checksums": _checksums(self._frames),
        }

    def load_state_dict(self, state: dict[str, Any]) -> tuple[Frames, dict[str, Any]]:
        """Plays the running episodes of a saved state again and returns its frames and info, as `reset` would.

        Takes as many steps as the longest of these episodes has. Raises ValueError if the state is of another number of
        environments, or if the frames come out differently: another game, other rules, another version of the emulator.
        """
        if len(state["episodes"]) != self.num_envs:
            raise ValueError(f"the saved state has {len(state['episodes'])} environments, this one {self.num_envs}")
        self._seed = state["seed"]
        self._episodes[:] = state["episodes"]
        self._episode_seeds[:] = state["episode_seeds"]
        self._frames = self._replay([np.frombuffer(bytes.fromhex(row), dtype=np.uint8) for row in state["actions"]])
        if _checksums(self._frames) != state["frame_checksums"]:
            raise ValueError(
                "playing the saved actions again led to other frames: the state was saved from another game, "
                "with other rules, or by another version of the emulator"
            )
        nowhere = np.zeros(self.num_envs, dtype=np.bool_)
        return self._frames, self._info(life_lost=nowhere, final_frames=self._frames, ended=nowhere)

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the wrapped environment."""
        self.env.close(**kwargs)

    def _begin_episodes(self, mask: Bool[np.ndarray, "n"]) -> Frames:
        for env in np.flatnonzero(mask):
            self._episodes[env] += 1
            self._episode_seeds[env] = _episode_seed(self._seed, int(env), int(self._episodes[env]))
        return self._reset_where(mask)

    def _reset_where(self, mask: Bool[np.ndarray, "n"]) -> Frames:
        seeds: Any
        if isinstance(self.env, ale_py.AtariVectorEnv):  # wants the seeds of the reset ones, as an array
            seeds = self._episode_seeds[mask]
        else:  # wants a list with an entry for every environment
            seeds = [int(seed) if reset else None for seed, reset in zip(self._episode_seeds, mask, strict=True)]
        frames, info = self.env.reset(seed=seeds, options={"reset_mask": mask})
        self._lives = np.where(mask, self._lives_in(info), self._lives)
        self._log.begin(mask)
        return frames  # type: ignore[no-any-return]

    def _replay(self, logs: list[UInt8[np.ndarray, "_"]]) -> Frames:
        # All environments step together, so those with fewer actions wait, idle, until as many steps are left.
        starts = max(map(len, logs)) - np.array([len(log) for log in logs])
        actions = np.zeros((max(map(len, logs)), self.num_envs), dtype=np.int64)
        for env, log in enumerate(logs):
            actions[starts[env] :, env] = log
        self._log = ActionLog(self.num_envs)
        ended = np.ones(self.num_envs, dtype=np.bool_)
        for step in range(len(actions) + 1):
            if (ended & (step > starts)).any():
                raise ValueError("a saved episode ended while it was played again: the state is of another environment")
            if (mask := ended | (step == starts)).any():
                frames = self._reset_where(mask)
            if step < len(actions):
                frames, _, terminated, truncated, info = self.env.step(actions[step])
                self._log.append(actions[step])
                self._lives = self._lives_in(info)
                ended = terminated | truncated
        return frames

    def _lives_in(self, info: dict[str, Any]) -> Int64[np.ndarray, "n"]:
        lives = info.get("lives")  # games without lives never lose one
        return np.zeros(self.num_envs, dtype=np.int64) if lives is None else lives.astype(np.int64)

    def _info(
        self, *, life_lost: Bool[np.ndarray, "n"], final_frames: Frames, ended: Bool[np.ndarray, "n"]
    ) -> dict[str, Any]:
        return {"lives": self._lives, "life_lost": life_lost, "final_obs": final_frames, "_final_obs": ended}

    def _check_actions(self, actions: Integer[np.ndarray, "n"]) -> None:
        if actions.shape != (self.num_envs,):
            raise ValueError(f"actions must have the shape {(self.num_envs,)}, got {actions.shape}")
        # ale-py's threads would wait forever for an environment that refused its action.
        if actions.min() < 0 or actions.max() >= self._num_actions:
            raise ValueError(f"actions must lie in 0..{self._num_actions - 1}, got {actions.min()}..{actions.max()}")


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")


def _episode_seed(seed: int, env: int, episode: int) -> int:
    # 31 bits: ale-py takes a signed 32-bit seed, and a negative one leaves the emulator as it is.
    return int(np.random.SeedSequence((seed, env, episode)).generate_state(1)[0] >> 1)


def _checksums(frames: Frames) -> list[int]:
    return [zlib.crc32(frame.tobytes()) for frame in frames]
