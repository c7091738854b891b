"""Plays one shard of a frame store: the same frames for the same job, whoever plays it and beside whatever else."""

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from signal import SIG_IGN, SIGINT, signal

import gymnasium as gym
import numpy as np
import torch

from agents.evaluation import ActingAgent
from agents.exploration import epsilon_greedy
from envs import AtariConfig, make_atari
from envs.ram import console_ram
from gen_ssl.frames import ShardWriter, read_shard, shard_path

from .devices import set_num_threads
from .interruption import Interruption
from .saved_agent import load_agent
from .seeding import integer_seed, numpy_generator


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """What is played, by whom, and how many frames of it are recorded where."""

    folder: Path
    number: int  # of the shard among those of its game
    num_frames: int
    rules: AtariConfig
    agent: Path | None  # a run directory or a checkpoint in one; None: random play
    epsilon: float  # the share of random actions of an agent
    seed: int
    device: str

    @property
    def path(self) -> Path:
        """Where the shard goes."""
        return shard_path(self.folder, self.rules.game, self.number)

    @property
    def is_written(self) -> bool:
        """Whether the shard is there and whole, with as many frames as it is to have: otherwise it is played again."""
        try:
            shard = read_shard(self.path)
        except (FileNotFoundError, ValueError):
            return False
        return shard.num_lost == 0 and len(shard.actions) >= self.num_frames


def shard_jobs(
    folder: Path,
    all_rules: Sequence[AtariConfig],
    *,
    num_frames: int,
    shard_frames: int,
    seed: int,
    agent: Path | None = None,
    epsilon: float = 1.0,
    device: str = "cpu",
) -> list[ShardJob]:
    """Returns the jobs that fill a folder with `num_frames` frames of each game; without an agent, of random play.

    All games grow side by side: stopped early, each has some frames.
    """
    return [
        ShardJob(
            folder=folder,
            number=first // shard_frames,
            num_frames=min(shard_frames, num_frames - first),
            rules=rules,
            agent=agent,
            epsilon=epsilon,
            seed=seed,
            device=device,
        )
        for first in range(0, num_frames, shard_frames)
        for rules in all_rules
    ]


def record_shards(jobs: Sequence[ShardJob], *, processes: int, interruption: Interruption) -> Iterator[ShardJob]:
    """Plays jobs and yields each as its shard is written; after an interruption, those only that had begun."""
    if processes == 1:
        for job in jobs:
            if interruption.requested:
                return
            record_shard(job)
            yield job
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_prepare_process) as pool:
        try:
            running = {pool.submit(record_shard, job): job for job in jobs}
            while running:
                done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    yield running.pop(future)
                if interruption.requested:
                    running = {future: job for future, job in running.items() if not future.cancel()}
        finally:
            pool.shutdown(cancel_futures=True)  # after an error, too, no other shard is begun


def _prepare_process() -> None:
    # Ctrl-C reaches every process of a terminal: this one finishes its shard, and the first one asks for no more.
    signal(SIGINT, SIG_IGN)
    set_num_threads(1)


def record_shard(job: ShardJob) -> Path:
    """Plays episodes one after the other until the shard is full, writes it, and returns its path.

    The last episode is cut where the shard is full. Seeds derive from job.seed, the game and the shard's number.
    """
    purpose = f"frames of {job.rules.game}, shard {job.number}"
    generator = numpy_generator(job.seed, f"actions in {purpose}")
    agent, stack = _agent(job.agent, job.device)
    epsilon = np.array([1.0 if agent is None else job.epsilon])
    game = make_atari(job.rules, stack=stack)
    assert isinstance(game.action_space, gym.spaces.Discrete)
    num_actions = int(game.action_space.n)
    height, width = (job.rules.frame_size,) * 2

    frames = np.empty((job.num_frames, 1, height, width), dtype=np.uint8)
    ram = np.empty((job.num_frames, 128), dtype=np.uint8)
    actions = np.empty(job.num_frames, dtype=np.int64)
    rewards = np.empty(job.num_frames, dtype=np.float32)
    terminated, truncated = np.zeros((2, job.num_frames), dtype=np.bool_)
    observation, _ = game.reset(seed=integer_seed(job.seed, purpose))
    for step in range(job.num_frames):
        frames[step, 0], ram[step] = observation[-1], console_ram(game)
        greedy = np.zeros(1, dtype=np.int64)
        if agent is not None:
            greedy = agent.act(torch.from_numpy(np.asarray(observation)[None])).cpu().numpy()
        action = epsilon_greedy(greedy, epsilon=epsilon, num_actions=num_actions, generator=generator)[0]
        actions[step] = action
        observation, reward, terminated[step], truncated[step], _ = game.step(action)
        rewards[step] = float(reward)
        if terminated[step] or truncated[step]:
            observation, _ = game.reset()
    game.close()

    shard = ShardWriter(job.path, game=job.rules.game, num_actions=num_actions, frame_shape=(1, height, width))
    shard.append(frames=frames, actions=actions, rewards=rewards, terminated=terminated, truncated=truncated, ram=ram)
    return shard.finish()


@cache
def _agent(path: Path | None, device: str) -> tuple[ActingAgent | None, int]:
    """Returns the agent of a run, loaded once in each process, and how many frames it sees."""
    if path is None:
        return None, 1
    saved = load_agent(path, device=torch.device(device))
    return saved.agent, saved.config.stack
