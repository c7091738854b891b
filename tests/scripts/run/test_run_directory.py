"""Run directories."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.run.run_directory import RunDirectory

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, kw_only=True)
class Learner:
    learning_rate: float = 0.1
    double: bool = False


@dataclass(frozen=True, kw_only=True)
class Config:
    game: str = "Pong"
    total_steps: int = 1000
    learner: Learner = field(default_factory=Learner)


def test_a_new_run_keeps_what_was_asked_for_with_which_versions(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", config=Config(game="Qbert"), label="dqn", command="python -m x")
    assert run.read_config(Config) == Config(game="Qbert")
    assert (run.path / "command.txt").read_text() == "python -m x\n"
    versions = json.loads((run.path / "versions.json").read_text())
    assert {"python", "torch", "gymnasium", "ale-py", "commit"} <= set(versions)
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))


def test_a_run_without_a_path_is_named_after_its_label_and_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunDirectory.create(None, config=Config(), label="dqn-Pong-seed0")
    assert run.path.parent == Path("runs")
    assert run.path.name.startswith("dqn-Pong-seed0-20")


def test_an_existing_run_is_refused_with_the_way_to_continue_it(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", config=Config(), label="dqn")
    with pytest.raises(FileExistsError, match=r"run exists already: continue it with --resume .*run, or name another"):
        RunDirectory.create(tmp_path / "run", config=Config(), label="dqn")


def test_of_a_command_that_cannot_resume_an_existing_run_is_refused_without_a_way_to(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", config=Config(), label="sb3")
    with pytest.raises(FileExistsError, match=r"run exists already: please name another one"):
        RunDirectory.create(tmp_path / "run", config=Config(), label="sb3", can_resume=False)


def test_a_folder_with_other_files_is_refused_and_an_empty_one_taken(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path, config=Config(), label="dqn")
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match=r"other exists already: please name another one"):
        RunDirectory.create(other, config=Config(), label="dqn")
    with pytest.raises(FileExistsError, match="exists already"):
        RunDirectory.create(other / "thesis.tex", config=Config(), label="dqn")


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_folder_left_by_a_kill_while_it_was_made_counts_as_not_begun(
    written: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace
    files: list[Path] = []

    def killed(self: Path, target: Path) -> Path:
        if len(files) == written:
            raise KeyboardInterrupt  # the file beside is there, its place still empty
        files.append(target)
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            RunDirectory.create(tmp_path / "run", config=Config(), label="dqn")
    assert not (tmp_path / "run/config.json").exists()
    run = RunDirectory.create(tmp_path / "run", config=Config(), label="dqn")
    assert {path.name for path in run.path.iterdir()} == {"command.txt", "versions.json", "config.json"}


def test_opening_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is not a run directory: it has no config.json"):
        RunDirectory.open(tmp_path)


def test_resuming_with_another_configuration_names_every_difference(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", config=Config(), label="dqn")
    RunDirectory.open(run.path).check_config(Config())
    other = Config(game="Qbert", total_steps=2000, learner=Learner(double=True))
    message = r"game \('Pong' then, 'Qbert' now\), learner.double \(False then, True now\)$"
    with pytest.raises(ValueError, match=f"cannot be resumed with another configuration: {message}"):
        run.check_config(other, may_differ=["total_steps"])
    with pytest.raises(ValueError, match=r"total_steps \(1000 then, 2000 now\)"):
        run.check_config(Config(total_steps=2000))
    run.check_config(Config(total_steps=2000), may_differ=["total_steps"])


def test_a_run_from_before_a_setting_was_added_is_resumed_with_its_default(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", config=Config(), label="dqn")
    (run.path / "config.json").write_text('{"game": "Pong", "total_steps": 1000, "learner": {"learning_rate": 0.1}}')
    run.check_config(Config())
    with pytest.raises(ValueError, match=r"learner.double \(False then, True now\)"):
        run.check_config(Config(learner=Learner(double=True)))


def test_a_damaged_configuration_is_named(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", config=Config(), label="dqn")
    (run.path / "config.json").write_text('{"game": "Po')
    with pytest.raises(ValueError, match="config.json is not JSON"):
        run.read_config(Config)
    (run.path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="config.json must hold an object, got list"):
        run.read_config(Config)
    (run.path / "config.json").write_text('{"game": 3}')
    with pytest.raises(ValueError, match="config.json does not fit: config.game must be str, got 3"):
        run.read_config(Config)


def test_the_commands_that_resume_a_run_are_added_to_its_list(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", config=Config(), label="dqn", command="first")
    run.note_command("second")
    assert (run.path / "command.txt").read_text() == "first\nsecond\n"


def test_a_command_is_noted_as_one_would_type_it(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("from scripts.run.run_directory import command_line\nprint(command_line())\n")
    for command, expected in [
        (["-m", "script", "--game", "a b"], "python -m script --game 'a b'\n"),
        (["script.py", "--x"], "python script.py --x\n"),
    ]:
        environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
        finished = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert finished.stdout == expected
