"""The command that evaluates saved agents, on runs that `train_dqn` made."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agents import TrainingConfig
from envs import AtariConfig
from scripts.evaluate_agent import EvaluateAgent, RunScore, evaluate_run, main
from scripts.run.dqn_config import PRESETS, DQNRunConfig, EvaluationConfig, ReplayConfig
from scripts.run.saved_agent import SavedAgent
from scripts.train_dqn import TrainDQN
from scripts.train_dqn import main as train

ROOT = Path(__file__).parents[2]

TINY = replace(
    PRESETS["catch"],
    num_envs=2,
    replay=ReplayConfig(capacity=100, storage="raw"),
    training=TrainingConfig(
        total_steps=30, learning_starts=20, batch_size=7, held_out_states=3, log_every_steps=10, samples_per_step=1
    ),
    evaluation=EvaluationConfig(evaluate_every_steps=30, num_games=2),
)


def trained(folder: Path, config: DQNRunConfig) -> Path:
    train(TrainDQN(run=config, run_directory=folder, device="cpu", threads=1))
    return folder


@pytest.fixture(scope="module")
def catch_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "catch", TINY)


@pytest.fixture(scope="module")
def pong_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Games of 50 steps: cut off by the cap, before the first point is the rule.
    rules = AtariConfig(max_frames_per_episode=200)
    return trained(tmp_path_factory.mktemp("runs") / "pong", replace(TINY, catch=False, atari=rules))


def command(*runs: Path, **fields: object) -> EvaluateAgent:
    return EvaluateAgent(runs=runs, **({"games": 5, "device": "cpu", "threads": 1} | fields))  # type: ignore[arg-type]


def test_every_game_is_printed_in_a_table_and_written_beside_the_run(
    catch_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(catch_run))
    header, row, path = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "run",
        "game",
        "step",
        "games",
        "mean",
        "95%",
        "interval",
        "median",
        "IQM",
        "human-normalised",
    ]
    assert row.split()[:4] == ["catch", "Catch", "30", "5"]
    assert Path(path) == catch_run / "evaluation-step-30-games-5-epsilon-0.01-seed-0.json"
    (score,) = json.loads(Path(path).read_text())["runs"]
    returns = score["evaluation"]["returns"]
    assert len(returns) == 5
    assert set(returns) <= {-1.0, 1.0}
    assert score["mean"] == sum(returns) / 5
    assert score["human_normalised"] is None


def test_the_same_evaluation_again_gives_the_same_games_and_another_seed_others(
    catch_run: Path, tmp_path: Path
) -> None:
    games = []
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        main(command(catch_run, games=20, epsilon=1.0, seed=seed, output=tmp_path / name))
        games.append(json.loads((tmp_path / name).read_text())["runs"][0]["evaluation"])
    assert games[0] == games[1]
    assert games[0]["returns"] != games[2]["returns"]


def test_a_game_ends_at_the_cap_of_the_rules_it_was_trained_with(pong_run: Path, tmp_path: Path) -> None:
    main(command(pong_run / "checkpoint.pt", games=2, output=tmp_path / "a.json"))
    (score,) = json.loads((tmp_path / "a.json").read_text())["runs"]
    assert score["evaluation"]["lengths"] == [50, 50]
    assert score["evaluation"]["truncated"] == [True, True]
    assert score["rules"]["max_frames_per_episode"] == 200
    assert score["human_normalised"] == pytest.approx((score["mean"] + 20.7) / 35.3)


def test_several_runs_are_summarised_over_all(
    catch_run: Path, pong_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(catch_run, pong_run, pong_run, games=2, output=tmp_path / "a.json"))
    written = json.loads((tmp_path / "a.json").read_text())
    assert [score["game"] for score in written["runs"]] == ["Catch", "Pong", "Pong"]
    # Twice the same run: its score is the mean over seeds, and redrawing the seeds changes nothing.
    score = written["runs"][1]["human_normalised"]
    for estimate in written["human_normalised"].values():
        assert estimate["value"] == pytest.approx(score)
        assert estimate["interval"] == pytest.approx([score, score])
    assert "human-normalised, over 2 of 3 runs" in capsys.readouterr().out


def test_what_was_played_is_written_after_every_run(
    catch_run: Path, pong_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed_at_pong(saved: SavedAgent, command: EvaluateAgent) -> RunScore:
        if saved.config.game_name == "Pong":
            raise KeyboardInterrupt
        return evaluate_run(saved, command)

    monkeypatch.setattr("scripts.evaluate_agent.evaluate_run", killed_at_pong)
    with pytest.raises(KeyboardInterrupt):
        main(command(catch_run, pong_run, games=2, output=tmp_path / "a.json"))
    assert [score["game"] for score in json.loads((tmp_path / "a.json").read_text())["runs"]] == ["Catch"]


def test_runs_of_one_name_are_told_apart_by_the_folders_above(
    catch_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [Path(shutil.copytree(catch_run, tmp_path / arm / "seed0")) for arm in ("first", "second")]
    main(command(*runs, games=2, output=tmp_path / "a.json"))
    assert [row.split()[0] for row in capsys.readouterr().out.splitlines()[1:3]] == ["first/seed0", "second/seed0"]


def test_wrong_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="games must be at least 1, got 0"):
        command(tmp_path, games=0)
    with pytest.raises(ValueError, match=r"epsilon must fall within \[0, 1\], got 2.0"):
        command(tmp_path, epsilon=2.0)
    with pytest.raises(ValueError, match="say with --output where the table of several runs goes"):
        command(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="name at least one run"):
        command()


def test_checkpoints_that_do_not_fit_are_refused_in_one_sentence(catch_run: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a run directory"):
        main(command(tmp_path))
    other = tmp_path / "run"
    other.mkdir()
    config = (catch_run / "config.json").read_text()
    (other / "config.json").write_text(config)
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint at .*checkpoint.pt"):
        main(command(other))
    whole = (catch_run / "checkpoint.pt").read_bytes()
    (other / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is truncated"):
        main(command(other))
    (other / "checkpoint.pt").write_bytes(whole)
    (other / "config.json").write_text('{"algorithm": "ppo"}')
    with pytest.raises(ValueError, match="run is not a run of train_dqn: .* has no field 'algorithm' in DQNRunConfig"):
        main(command(other))
    (other / "config.json").write_text(config.replace("DQN2013CNN", "NatureCNN"))
    with pytest.raises(ValueError, match=r"the networks saved in .*checkpoint.pt are not those of .*config.json"):
        main(command(other))


@pytest.mark.parametrize("program", [["-m", "scripts.evaluate_agent"], [str(ROOT / "scripts" / "evaluate_agent.py")]])
def test_it_runs_from_the_command_line_and_ends_with_the_path_it_wrote(
    program: list[str], catch_run: Path, tmp_path: Path
) -> None:
    flags = ["--games", "2", "--device", "cpu", "--threads", "1", "--output", str(tmp_path / "a.json")]
    finished = subprocess.run(
        [sys.executable, *program, str(catch_run), *flags], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.stdout.splitlines()[-1] == str(tmp_path / "a.json"), finished.stderr
    assert (tmp_path / "a.json").exists()
