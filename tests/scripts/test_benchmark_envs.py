import importlib.util
import json
import time
from typing import get_args

import numpy as np
import pytest

from scripts.benchmark_envs import IMPLEMENTATIONS, BenchmarkEnvs, Name, main, steps_per_second

QUICK = {"num_envs": 2, "num_threads": 1, "rounds": 2, "seconds_per_turn": 0.02}


# Python warns of every fork while there are threads; 3.12 and later.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_every_implementation_has_a_record_and_ours_is_compared_with_ale_py(tmp_path, capsys):
    output = tmp_path / "envs.json"
    main(BenchmarkEnvs(**QUICK, output=output))
    records = json.loads(output.read_text())
    installed = [name for name in get_args(Name) if name != "envpool" or importlib.util.find_spec("envpool")]
    packages = [IMPLEMENTATIONS[name].package for name in installed]
    assert [record["implementation"] for record in records] == [*packages, "cartridge"]
    assert all(record["value"] > 0 and record["repeats"] == 2 for record in records)
    assert [record["unit"] for record in records] == ["steps/s"] * len(packages) + ["times ale-py's steps/s"]
    printed = capsys.readouterr()
    assert f"wrote {output}" in printed.out
    assert "| cartridge | make_atari_vector, Pong, 2 envs, 1 threads |" in printed.out


def test_games_and_implementations_are_chosen(capsys):
    main(BenchmarkEnvs(**QUICK, games=("Pong", "Breakout"), implementations=("cartridge",)))
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split("|")[3].split(",")[1] for line in lines] == [" Pong", " Breakout"]


def test_a_speed_is_the_steps_of_all_environments_over_the_time():
    speed = steps_per_second(lambda actions: time.sleep(0.01), np.zeros((3, 5), dtype=np.int64), seconds=0.2)
    assert 200 < speed < 500


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"num_envs": 0}, "num_envs must be at least 1, got 0"),
        ({"num_threads": 0}, "num_threads must be at least 1, got 0"),
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"seconds_per_turn": 0.0}, "seconds_per_turn must be positive, got 0.0"),
    ],
)
def test_a_measurement_of_nothing_is_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        BenchmarkEnvs(**wrong)


def test_an_unknown_game_is_refused_before_anything_is_measured(capsys):
    with pytest.raises(ValueError, match="unknown Atari game 'Pongg': did you mean Pong?"):
        main(BenchmarkEnvs(**QUICK, games=("Pong", "Pongg")))
    assert capsys.readouterr().out == ""
