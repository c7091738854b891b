import json
from pathlib import Path

import pytest
from PIL import Image

from scripts import plot_scores
from scripts.plot_scores import PlotScores

PEER = Path(__file__).parents[2] / "docs/results/sb3_pong.csv"


def write_run(path, scores):
    path.mkdir()
    records = [
        {
            "step": 1_000 * i,
            "seconds": 60.0 * i,
            "mean": score,
            "returns": [score - 1, score + 1],
            "confirmation": i == 2,
        }
        for i, score in enumerate(scores)
    ]
    (path / "evaluations.json").write_text(json.dumps(records))
    return path


def test_a_picture_and_a_table_show_every_evaluation(tmp_path, capsys):
    run = write_run(tmp_path / "first", [-21.0, 3.0, 5.0])
    output = tmp_path / "scores.png"
    plot_scores.main(PlotScores(runs=(run,), peer=PEER, output=output))
    with Image.open(output) as picture:
        assert picture.size == (1210, 440)
    table = capsys.readouterr().out
    assert "| first | 1,000 | 1.0 | 2 | 3.00 | 2 | 4 |" in table
    assert "| first, confirmation | 2,000 | 2.0 | 2 | 5.00 | 4 | 6 |" in table


def test_a_folder_without_evaluations_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="it has no evaluations.json"):
        plot_scores.main(PlotScores(runs=(tmp_path,)))
