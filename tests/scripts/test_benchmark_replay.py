"""The benchmark of the replay, run for real with small numbers."""

import json
from pathlib import Path

import pytest

from scripts.benchmark_replay import BenchmarkReplay, main


def test_benchmark_measures_memory_and_speed_and_writes_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "replay.json"
    main(
        BenchmarkReplay(
            games=("Pong",),
            memory_of=("raw", "lz4"),
            transitions=2_100,
            insertions=2_800,
            speed_transitions=700,
            batch_sizes=(13,),
            repeats=3,
            num_envs=7,
            device="cpu",
            threads=0,
            output=output,
        )
    )
    records = {(record["implementation"], record["setting"]): record for record in json.loads(output.read_text())}
    memory = {
        name: records["cartridge", f"Pong, {name}, 2,100 transitions, 2,800 insertions"] for name in ("raw", "lz4")
    }
    assert memory["raw"]["unit"] == "GB per million transitions"
    assert 7.0 <= memory["raw"]["value"] <= 8.5
    assert 0.2 <= memory["lz4"]["value"] <= 2.0  # so few frames share few pages

    for subject in ("raw, n-step 3", "raw, prioritised, n-step 3", "lz4, n-step 3", "device, n-step 3"):
        assert records["cartridge", f"store, {subject}, 7 envs"]["value"] > 0
        assert records["cartridge", f"sample 13, {subject}"]["repeats"] == 3
    assert records["stable_baselines3", "sample 13, ReplayBuffer, n-step 1"]["unit"] == "ms"
    assert records["stable_baselines3", "sample 13, NStepReplayBuffer, n-step 3"]["value"] > 0
    assert {record["conditions"].partition(" (")[0] for record in records.values()} == {
        "speed on Pong, batches arrive on cpu"
    }
    table = capsys.readouterr().out
    assert "| replay memory | cartridge | Pong, raw, 2,100 transitions, 2,800 insertions | " in table
    assert f"wrote {output}" in table


def test_unknown_replays_and_too_few_transitions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"memory_of must name replays among raw, .*, got 'zip'"):
        BenchmarkReplay(memory_of=("zip",))
    with pytest.raises(ValueError, match="transitions must be at least 448 for 64 envs, got 100"):
        BenchmarkReplay(transitions=100)


def test_a_benchmark_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        BenchmarkReplay(repeats=0)
    with pytest.raises(ValueError, match="games must name at least one"):
        BenchmarkReplay(games=())
