"""How a command begins and ends, by running one."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

PROGRAM = '''"""Raises what it is told to.

    python -m scripts.fail --how ValueError
"""
import builtins
import signal
from dataclasses import dataclass

from scripts.run.command_line import run_command


@dataclass(frozen=True, kw_only=True)
class Config:
    how: str = "no"  # the error's name
    number: int = 3

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError(f"number must be at least 0, got {self.number}")


def main(config: Config) -> None:
    if config.how == "interrupt":
        # A test started in the background inherits that Ctrl-C is ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGINT)
    elif config.how != "no":
        raise getattr(builtins, config.how)(*([13, "may not write", "a.txt"] if config.how == "OSError" else ["wrong"]))
    print("done")


run_command(Config, main, documentation=__doc__)
'''


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "fail.py").write_text(PROGRAM)
    return [sys.executable, str(tmp_path / "fail.py")]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)


def test_a_command_runs_with_its_flags(command: list[str]) -> None:
    finished = run([*command, "--number", "5"])
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "done\n", "")


@pytest.mark.parametrize(
    ("how", "sentence"), [("ValueError", "wrong"), ("FileNotFoundError", "wrong"), ("OSError", "may not write: a.txt")]
)
def test_a_foreseen_error_is_one_sentence(command: list[str], how: str, sentence: str) -> None:
    finished = run([*command, "--how", how])
    assert (finished.returncode, finished.stdout, finished.stderr) == (1, "", f"fail: error: {sentence}\n")


def test_developer_mode_shows_where_an_error_came_from(command: list[str]) -> None:
    finished = run([command[0], "-X", "dev", *command[1:], "--how", "ValueError"])
    assert "Traceback" in finished.stderr


def test_an_unforeseen_error_is_not_hidden(command: list[str]) -> None:
    assert "Traceback" in run([*command, "--how", "ZeroDivisionError"]).stderr


def test_an_interrupted_command_says_so(command: list[str]) -> None:
    finished = run([*command, "--how", "interrupt"])
    assert finished.returncode == 128 + signal.SIGINT
    assert finished.stderr == "fail: stopped\n"


def test_a_configuration_that_refuses_its_values_is_a_wrong_use(command: list[str]) -> None:
    finished = run([*command, "--number", "-1"])
    assert finished.returncode == 2
    assert "number must be at least 0, got -1" in finished.stderr


def test_help_is_the_documentation(command: list[str]) -> None:
    finished = run([*command, "--help"])
    assert finished.returncode == 0
    assert "Raises what it is told to." in finished.stdout
    assert "the error's name" in finished.stdout


def test_help_into_a_pipe_that_closes_ends_without_a_word(command: list[str]) -> None:
    with subprocess.Popen([*command, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == -signal.SIGPIPE
