"""Short names for runs."""

from pathlib import Path

from scripts.run.run_names import distinct_names


def test_a_name_has_as_many_folders_as_tell_it_from_the_others() -> None:
    runs = [Path(run) for run in ("runs/pong", "runs/a/x/seed0", "runs/b/x/seed0", "seed0", "runs/b/y/seed0")]
    assert distinct_names(runs) == ["pong", "a/x/seed0", "b/x/seed0", "seed0", "y/seed0"]


def test_a_run_that_is_named_twice_has_one_name() -> None:
    assert distinct_names([Path("runs/pong"), Path("runs/pong")]) == ["pong", "pong"]
