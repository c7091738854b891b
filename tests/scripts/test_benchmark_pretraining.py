import json

import numpy as np
import pytest
import torch

from scripts import benchmark_pretraining
from scripts.benchmark_pretraining import BenchmarkPretraining, TwoViews, ratios
from scripts.run.benchmark_records import summarise


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_table_has_our_speed_the_usual_pipelines_and_their_ratio(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("scripts.run.pretrain_frames.SHARD_FRAMES", 60)  # at least three episodes
    monkeypatch.setattr("scripts.run.pretrain_frames.available_cores", lambda: 1)  # no other process is started
    output = tmp_path / "speed.json"
    benchmark_pretraining.main(
        BenchmarkPretraining(
            num_frames=180, batch_size=4, rounds=2, steps_per_round=1, workers=1, device="cpu", threads=1, output=output
        )
    )
    records = json.loads(output.read_text())
    speeds = [record for record in records if record["benchmark"] == "pretraining"]
    assert [record["implementation"] for record in speeds[:3]] == ["cartridge", "cartridge", "torch DataLoader"]
    assert all(record["value"] > 0 for record in records)
    ratio = next(record for record in records if record["benchmark"] == "pretraining, ratio")
    assert ratio["value"] == pytest.approx(speeds[0]["value"] / speeds[2]["value"])
    assert any(record["benchmark"] == "augmentation" for record in records)
    assert "| pretraining | torch DataLoader | 1 workers, float32 |" in capsys.readouterr().out


def test_ratios_are_over_float32_and_at_equal_precision_where_both_computed_in_bfloat16():
    speeds = {"auto precision": ("cartridge", 30.0), "float32": ("cartridge", 20.0)}
    peers = {"1 workers, float32": ("torch DataLoader", 10.0), "1 workers, bfloat16": ("torch DataLoader", 25.0)}
    records = [
        summarise([value], benchmark="pretraining", implementation=name, setting=setting, unit="samples/s")
        for setting, (name, value) in (speeds | peers).items()
    ]
    assert {record.setting: record.value for record in ratios(records)} == {
        "auto precision, over torch DataLoader with 1 workers, float32": 3.0,
        "float32, over torch DataLoader with 1 workers, float32": 2.0,
        "auto precision, over torch DataLoader with 1 workers, bfloat16": pytest.approx(1.2),
    }
    assert len(ratios(records[:3])) == 2


def test_the_usual_pipelines_views_are_stacks_of_one_episode_shifted_and_dimmed():
    frames = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 1, 7, 5) * 40
    starts = np.array([0, 0, 0, 3, 3, 3])
    first, second = TwoViews(frames, starts)[4]
    for view in (first, second):
        assert view.shape == (4, 7, 5)
        factor = view[3, 0, 0] / (160 / 255)  # frames of one colour stay so under any shift
        assert 0.9 <= factor <= 1.1
        expected = torch.tensor([120, 120, 120, 160]).view(4, 1, 1) / 255 * factor
        torch.testing.assert_close(view, expected.expand(4, 7, 5))


@pytest.mark.gpu
def test_views_on_a_gpu_take_at_most_fifteen_percent_of_a_step(tmp_path):
    output = tmp_path / "speed.json"
    benchmark_pretraining.main(BenchmarkPretraining(rounds=10, steps_per_round=50, device="cuda", output=output))
    share = next(record for record in json.loads(output.read_text()) if record["benchmark"] == "augmentation")
    assert share["value"] <= 0.15
