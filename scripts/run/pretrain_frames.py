"""Frames for pretraining when none were collected: random play, by the code of `collect_frames`."""

from pathlib import Path

from envs import AtariConfig
from gen_ssl.frames import read_shard

from .devices import available_cores
from .interruption import Interruption
from .progress import Progress
from .recorded_play import ShardJob, record_shards

SHARD_FRAMES = 5_000


def collect_random_frames(folder: Path, *, game: str, num_frames: int, seed: int) -> None:
    """Plays a game at random until the folder holds so many frames; shards that are there are not played again.

    Raises KeyboardInterrupt when Ctrl-C stopped it: what is written is kept.
    """
    jobs = [
        ShardJob(
            folder=folder,
            number=number,
            num_frames=min(SHARD_FRAMES, num_frames - first),
            rules=AtariConfig(game=game),
            agent=None,
            epsilon=1.0,
            seed=seed,
            device="cpu",
        )
        for number, first in enumerate(range(0, num_frames, SHARD_FRAMES))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    missing = [job for job in jobs if not _is_written(job)]
    done = num_frames - sum(job.num_frames for job in missing)
    if not missing:
        return
    with Interruption() as interruption, Progress(num_frames, first_step=done, unit="frames") as progress:
        for job in record_shards(missing, processes=min(available_cores(), len(missing)), interruption=interruption):
            done += job.num_frames
            progress.update(done)
        if interruption.requested:
            raise KeyboardInterrupt


def _is_written(job: ShardJob) -> bool:
    try:
        return read_shard(job.path).num_lost == 0
    except (FileNotFoundError, ValueError):
        return False
