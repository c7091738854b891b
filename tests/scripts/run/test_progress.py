"""The display of progress, on a real terminal and off it."""

import contextlib
import io
import os
import pty
import re
import termios
import time

from scripts.run.progress import Progress, in_turns


def test_without_a_terminal_there_is_a_line_now_and_then_and_one_at_the_end() -> None:
    stream = io.StringIO()
    with Progress(1000, stream=stream, seconds_between_lines=60.0) as progress:
        for step in range(100, 600, 100):
            progress.update(step, score=-20.5)
        assert stream.getvalue() == ""
        progress.say("evaluated")
    evaluated, last = stream.getvalue().splitlines()
    assert evaluated == "evaluated"
    assert re.fullmatch(r"500/1,000 steps \(50%\), [\d,]+ steps/s, score -20.5, \d+:\d+ left", last)


def test_lines_come_at_the_asked_for_interval() -> None:
    stream = io.StringIO()
    progress = Progress(1000, stream=stream, seconds_between_lines=0.0)
    progress.update(1)
    progress.update(2)
    assert [line.split("/")[0] for line in stream.getvalue().splitlines()] == ["1", "2"]


def test_the_last_value_of_a_figure_stays() -> None:
    stream = io.StringIO()
    progress = Progress(10, stream=stream, seconds_between_lines=0.0)
    progress.update(1, score=3.0, loss=0.5)
    progress.update(2, score=None, loss=0.25)
    assert "score 3, loss 0.25" in stream.getvalue().splitlines()[1]


def test_steps_from_before_a_resume_do_not_count_towards_the_speed() -> None:
    stream = io.StringIO()
    progress = Progress(1_000_100, first_step=1_000_000, stream=stream, seconds_between_lines=0.0)
    time.sleep(0.1)
    progress.update(1_000_050)
    speed = re.search(r"([\d,]+) steps/s", stream.getvalue())
    assert speed is not None
    assert int(speed[1].replace(",", "")) <= 500
    assert stream.getvalue().startswith("1,000,050/1,000,100 steps (100%)")


def test_a_run_that_did_nothing_says_nothing() -> None:
    stream = io.StringIO()
    Progress(10, stream=stream).close()
    assert stream.getvalue() == ""


def read_all(descriptor: int) -> str:
    parts = []
    with contextlib.suppress(OSError):  # a terminal nobody writes to any more ends with an error
        while part := os.read(descriptor, 10_000):
            parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode()


def test_on_a_terminal_there_is_a_bar_with_speed_score_and_time_left() -> None:
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (24, 120))
    with os.fdopen(writer, "w") as terminal, Progress(1000, stream=terminal) as progress:
        progress.update(250, score=18.25)
        time.sleep(0.2)
        progress.update(500)
        progress.say("evaluated")
    shown = read_all(reader)
    assert "50%" in shown
    assert "score=18.25" in shown
    assert "steps/s" in shown
    assert re.search(r"\d\d:\d\d<\d\d:\d\d", shown), "elapsed and left"
    assert "evaluated" in shown


def test_subjects_take_turns_and_the_rounds_are_counted(capsys):
    assert list(in_turns(["ours", "peer"], 3)) == ["ours", "peer"] * 3
    assert "6/6 measurements (100%)" in capsys.readouterr().err
