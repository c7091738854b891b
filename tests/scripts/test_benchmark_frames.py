"""The benchmark of stored frames, run for real with small numbers."""

import json
from pathlib import Path

import pytest

from scripts.benchmark_frames import BenchmarkFrames, main


def test_benchmark_measures_size_collecting_and_reading(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "frames.json"
    main(BenchmarkFrames(games=("Pong",), frames=211, shard_frames=151, batch_size=13, repeats=3, output=output))
    records = {(record["implementation"], record["setting"]): record for record in json.loads(output.read_text())}
    assert 60 < records["cartridge", "Pong"]["value"] < records["lz4", "Pong, each frame by itself"]["value"] < 400
    assert records["cartridge", "Pong, random play, 1 process"]["unit"] == "frames/s"
    for implementation, how in [
        ("cartridge", "decoded when read"),
        ("cartridge", "preloaded"),
        ("numpy", "raw array, memory-mapped"),
    ]:
        record = records[implementation, f"Pong, {how}, batch 13, 1 thread"]
        assert (record["unit"], record["repeats"]) == ("stacks/s", 3)
        assert record["value"] > 0
    assert f"wrote {output}" in capsys.readouterr().out


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="frames must be at least 260, got 100"):
        BenchmarkFrames(frames=100)


@pytest.mark.parametrize("name", ["shard_frames", "batch_size", "repeats"])
def test_a_benchmark_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        BenchmarkFrames(**{name: 0})
