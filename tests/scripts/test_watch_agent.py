"""The command that films an agent."""

import subprocess
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import pytest
from PIL import Image

from agents import TrainingConfig
from scripts.run.dqn_config import PRESETS, EvaluationConfig, ReplayConfig
from scripts.train_dqn import TrainDQN
from scripts.train_dqn import main as train
from scripts.watch_agent import WatchAgent, main


@pytest.fixture(scope="module")
def catch_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "catch"
    config = replace(
        PRESETS["catch"],
        num_envs=2,
        replay=ReplayConfig(capacity=100, storage="raw"),
        training=TrainingConfig(
            total_steps=20, learning_starts=20, batch_size=7, held_out_states=3, log_every_steps=10, samples_per_step=1
        ),
        evaluation=EvaluationConfig(evaluate_every_steps=20, num_games=2),
    )
    train(TrainDQN(run=config, run_directory=folder, device="cpu", threads=1))
    return folder


def num_frames(path: Path) -> int:
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path)]
    decoded = subprocess.run([*program, "-f", "framehash", "-"], capture_output=True, text=True, check=True)
    return sum(not line.startswith("#") for line in decoded.stdout.splitlines())


def test_a_film_of_a_run_stands_among_its_videos(catch_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(WatchAgent(run=catch_run, seed=3))
    scored, path = capsys.readouterr().out.splitlines()
    assert Path(path) == catch_run / "videos" / "step-20-seed-3.mp4"
    assert scored.startswith(("scored 1 in ", "scored -1 in "))
    steps = int(scored.split()[3])
    assert num_frames(Path(path)) == steps + 1


def test_random_play_needs_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(WatchAgent(game="Breakout", max_steps=11))
    path = Path(capsys.readouterr().out.splitlines()[-1])
    assert path == Path("videos/random-Breakout-seed-0.mp4")
    assert num_frames(path) == 12


def test_a_name_ending_in_gif_makes_a_gif(tmp_path: Path) -> None:
    main(WatchAgent(output=tmp_path / "pong.gif", max_steps=20))
    with Image.open(tmp_path / "pong.gif") as image:
        assert image.format == "GIF"
        assert image.size == (160, 210)
        assert image.n_frames > 1


def test_the_same_seed_films_the_same_game_and_another_seed_another(tmp_path: Path) -> None:
    films = []
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        path = tmp_path / f"{name}.gif"
        main(WatchAgent(game="Catch", output=path, seed=seed))
        films.append(path.read_bytes())
    assert films[0] == films[1]
    assert films[0] != films[2]


def test_what_makes_no_sense_is_refused(catch_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--game is for random play"):
        WatchAgent(run=catch_run, game="Pong")
    with pytest.raises(ValueError, match=r"a video ends in .mp4 or .gif, got 'pong.avi'"):
        WatchAgent(output=tmp_path / "pong.avi")
    with pytest.raises(ValueError, match="max_steps must be at least 1, got 0"):
        WatchAgent(max_steps=0)
    with pytest.raises(ValueError, match=r"epsilon must fall within \[0, 1\], got -0.1"):
        WatchAgent(epsilon=-0.1)
    with pytest.raises(ValueError, match=r"Brekout.*Breakout"):
        main(WatchAgent(game="Brekout", output=tmp_path / "a.mp4"))
