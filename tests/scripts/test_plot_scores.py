import json
from pathlib import Path

import pytest
from matplotlib import pyplot as plt
from PIL import Image

from scripts import plot_scores
from scripts.plot_scores import PlotScores

PEER = Path(__file__).parents[2] / "docs/results/sb3_pong.csv"


def write_run(path, scores, game="Pong"):
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"catch": False, "atari": {"game": game}}))
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


def drawn(monkeypatch, tmp_path, *runs, **options):
    """Returns the titles and the names of the curves of a figure."""
    figures = []
    subplots = plt.subplots

    def noting(*arguments, **keywords):
        figures.append(subplots(*arguments, **keywords))
        return figures[-1]

    monkeypatch.setattr(plt, "subplots", noting)
    plot_scores.main(PlotScores(runs=runs, output=tmp_path / "scores.png", **options))
    axes = figures[0][1]
    return {one.get_title() for one in axes}, [line.get_label() for line in axes[0].get_lines()]


def test_a_figure_names_the_games_of_its_runs_and_the_file_of_a_peer(tmp_path, monkeypatch):
    runs = [write_run(tmp_path / arm / "seed0", [1.0], game) for arm, game in [("a", "Qbert"), ("b", "Boxing")]]
    titles, names = drawn(monkeypatch, tmp_path, *runs, peer=PEER)
    assert titles == {"Qbert, Boxing"}
    assert names == ["a/seed0", "b/seed0", "sb3_pong"]
    titles, names = drawn(monkeypatch, tmp_path, runs[0], peer=PEER, peer_name="theirs", title="ours")
    assert titles == {"ours"}
    assert names == ["seed0", "theirs"]


def test_a_peer_without_a_column_is_refused(tmp_path):
    peer = tmp_path / "peer.csv"
    peer.write_text("# of someone\nenv_steps,score\n1,2\n")
    with pytest.raises(ValueError, match=r"peer.csv must have the columns .*, it lacks wall_seconds, mean_return"):
        plot_scores.main(PlotScores(runs=(write_run(tmp_path / "run", [1.0]),), peer=peer))


def test_a_folder_without_evaluations_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="it has no evaluations.json"):
        plot_scores.main(PlotScores(runs=(tmp_path,)))


def test_another_kind_of_picture_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a plot ends in .png, .svg or .pdf, got 'scores'"):
        PlotScores(runs=(tmp_path,), output=tmp_path / "scores")
