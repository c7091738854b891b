"""The benchmark of views, run for real with small numbers."""

import json

import pytest
import torch

from gen_ssl.views import Compose, RandomShift
from scripts.benchmark_views import SIDE, BenchmarkViews, main, seen_by


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    output = tmp_path_factory.mktemp("views") / "views.json"
    main(BenchmarkViews(steps=400, stacks=7, repeats=2, pairs=2, device="cpu", output=output))
    return {record["setting"]: record for record in json.loads(output.read_text())}


def test_every_view_and_peer_is_timed(records: dict[str, dict[str, object]]) -> None:
    for name in ("shift 2", "shift 4", "default views", "photographic views"):
        record = records[f"{name}, 7 stacks"]
        assert (record["implementation"], record["unit"], record["repeats"]) == ("cartridge", "ms", 2)
    for name in ("RandomCrop 2 of float32", "RandomCrop 4 of uint8"):
        assert records[f"{name}, 7 stacks"]["implementation"] == "kornia"
    assert records["shift 4 against kornia's RandomCrop of float32, 7 stacks"]["unit"] == "x"


def test_the_ball_is_where_the_memory_says(records: dict[str, dict[str, object]]) -> None:
    assert records["ball found within a pixel of its place in memory"]["value"] > 98


def test_the_default_views_keep_the_ball_in_95_percent_of_the_pairs(records: dict[str, dict[str, object]]) -> None:
    assert records["ball in both views, default views"]["value"] > 95
    assert records["ball in both views, photographic views"]["value"] < 60


def test_a_ball_is_seen_exactly_where_the_view_shows_its_pixel() -> None:
    corners = torch.tensor([[0, 0], [0, SIDE - 1], [SIDE - 1, 0], [SIDE - 1, SIDE - 1], [40, 40]])
    assert seen_by(Compose(), corners, torch.Generator()).all()
    many = corners.repeat(2_000, 1)
    seen = seen_by(RandomShift(1), many, torch.Generator().manual_seed(0)).view(-1, 5).float().mean(dim=0)
    assert seen[4] == 1
    assert ((seen[:4] - 4 / 9).abs() < 0.04).all()  # two of three shifts in each direction keep a corner


def test_a_benchmark_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        BenchmarkViews(repeats=0)
