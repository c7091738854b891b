"""Frames for pretraining when none were collected: random play, by the code of `collect_frames`."""

from pathlib import Path

from envs import AtariConfig

from .devices import available_cores
from .interruption import Interruption
from .progress import Progress
from .recorded_play import record_shards, shard_jobs

SHARD_FRAMES = 5_000


def collect_random_frames(folder: Path, *, game: str, num_frames: int, seed: int) -> None:
    """Plays a game at random until the folder holds so many frames; shards that are there are not played again.

    Raises KeyboardInterrupt when Ctrl-C stopped it: what is written is kept.
    """
    jobs = shard_jobs(folder, [AtariConfig(game=game)], num_frames=num_frames, shard_frames=SHARD_FRAMES, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [job for job in jobs if not job.is_written]
    done = num_frames - sum(job.num_frames for job in missing)
    if not missing:
        return
    with Interruption() as interruption, Progress(num_frames, first_step=done, unit="frames") as progress:
        for job in record_shards(missing, processes=min(available_cores(), len(missing)), interruption=interruption):
            done += job.num_frames
            progress.update(done)
        if interruption.requested:
            raise KeyboardInterrupt
