from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gen_ssl.frames import FrameStore, FrameStoreWriter, split_episodes
from scripts.run.atari_sequences import ATARI_QUESTIONS, atari_task
from scripts.run.sequence_config import ArchitectureConfig, SequenceRunConfig, with_total_steps
from scripts.train_sequence_model import TrainSequenceModel, main

EPISODE_LENGTHS = (7, 5, 11, 3, 13)


def write_play(folder: Path, game: str) -> None:
    """Writes episodes whose frames are all of one grey: the number of the step."""
    number = sum(EPISODE_LENGTHS)
    ends = np.isin(np.arange(number), np.cumsum(EPISODE_LENGTHS) - 1)
    frames = np.arange(number, dtype=np.uint8)[:, None, None, None].repeat(6, axis=2).repeat(6, axis=3)
    with FrameStoreWriter(folder, frame_shape=(1, 6, 6)) as writer:
        writer.append(
            game=game,
            num_actions=4,
            frames=frames,
            actions=np.arange(number) % 4,
            rewards=np.zeros(number, dtype=np.float32),
            terminated=ends,
            truncated=np.zeros(number, dtype=np.bool_),
        )


def test_rows_are_steps_of_the_episodes_of_a_part_with_averaged_frames_as_features(tmp_path: Path) -> None:
    write_play(tmp_path, "Pong")
    task = atari_task(tmp_path, question="action", length=100, features_per_side=2)
    assert task.spec.num_inputs == 2 * 2 + 4 + 1
    store = FrameStore.open(tmp_path)
    episodes = split_episodes(store, seed=0).episodes("test")
    (batch,) = task.batches("test", batch_size=100, seed=0)
    assert len(batch.targets) == len(episodes)
    for row, episode in enumerate(episodes):
        steps = np.arange(store.episodes.starts[episode], store.episodes.ends[episode] - 1)
        assert batch.lengths[row] == len(steps)
        grey = batch.inputs[row, : len(steps), :4].numpy()
        np.testing.assert_allclose(grey, (steps / 127.5 - 1)[:, None].repeat(4, axis=1), atol=1e-6)
        assert batch.targets[row, : len(steps)].tolist() == (steps % 4).tolist()


def test_a_store_of_several_games_is_refused(tmp_path: Path) -> None:
    write_play(tmp_path, "Pong")
    write_play(tmp_path, "Breakout")
    with pytest.raises(ValueError, match="a sequence of play is of one game, but .* has Breakout, Pong"):
        atari_task(tmp_path, question="reward")


@pytest.mark.parametrize("task", ATARI_QUESTIONS)
def test_a_model_trains_on_every_question(task: str, tmp_path: Path) -> None:
    write_play(tmp_path / "frames", "Pong")
    architecture = ArchitectureConfig(d_model=7, num_layers=1)
    run = SequenceRunConfig(task=task, model="gru", data=tmp_path / "frames", architecture=architecture)
    run = replace(run, training=replace(with_total_steps(run.training, 3), batch_size=2))
    main(TrainSequenceModel(run=run, run_directory=tmp_path / "run", device="cpu", threads=1))
    assert (tmp_path / "run" / "result.json").exists()
    with pytest.raises(ValueError, match=f"task {task} reads play: name with --data a folder"):
        main(TrainSequenceModel(run=replace(run, data=None), run_directory=tmp_path / "other", device="cpu"))
