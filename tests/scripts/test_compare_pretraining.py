import json
import os
from dataclasses import replace

import pytest
import tyro

from gen_ssl.pretraining import NonFiniteLossError, Pretraining, PretrainingConfig
from gen_ssl.rotation import Rotation
from scripts.compare_pretraining import (
    FEATURES,
    ComparePretraining,
    Failure,
    Row,
    main,
    rows_of,
    run_config,
    score_cell,
    write,
)
from scripts.run.probe_assembly import MOST_FREQUENT, RANDOM, SUPERVISED, ProbeRecord


def comparison(folder, **settings):
    return ComparePretraining(
        **{
            "methods": ("rotation",),
            "games": ("Pong",),
            "num_frames": 3_001,
            "pretraining": PretrainingConfig(minutes=0.02, batch_size=16),
            "encoder": "DQN2013CNN",
            "threads": 1,
            "output": folder / "compared",
            **settings,
        }
    )


def test_methods_stand_between_the_ends_of_their_architectures_scale(tmp_path):
    config = comparison(tmp_path, methods=("simclr", "mae", "vae"))
    assert [(row.name, row.architecture) for row in rows_of(config)] == [
        *((name, "DQN2013CNN") for name in (RANDOM, "simclr", "vae", SUPERVISED)),
        *((name, "ViT-tiny") for name in (RANDOM, "mae", SUPERVISED)),
    ]


def test_methods_of_one_architecture_share_the_ends_of_its_scale(tmp_path):
    config = comparison(tmp_path, methods=("simclr", "mae"), encoder="ViT-tiny")
    assert [row.name for row in rows_of(config)] == [RANDOM, "simclr", "mae", SUPERVISED]


def test_methods_get_the_same_frames_and_budget(tmp_path):
    config = comparison(tmp_path)
    simclr, vae = (run_config(config, Row(name, "DQN2013CNN"), "Pong", 5) for name in ("simclr", "vae"))
    assert simclr.frames == vae.frames
    assert simclr.pretraining == vae.pretraining == config.pretraining
    assert simclr.seed == vae.seed == 5
    # There is one game: a condition on it would be none.
    assert run_config(config, Row("conditional-vae", "DQN2013CNN"), "Pong", 5).condition == "action"


def test_the_budget_is_a_flag_of_its_own():
    assert tyro.cli(ComparePretraining, args=["--minutes", "2"]).pretraining.minutes == 2


def test_a_comparison_given_again_makes_only_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # frames are kept where commands run
    config = comparison(tmp_path)
    main(config)
    records = json.loads((config.output / "scores.json").read_text())["scores"]
    rows = [MOST_FREQUENT, *(row.label for row in rows_of(config))]
    assert [record["encoder"] for record in records] == rows * 2
    assert [record["standardised"] for record in records] == [True] * len(rows) + [False] * len(rows)
    text = (config.output / "scores.md").read_text()
    assert all(text.count(f"| {row} | ") == 2 for row in rows)
    scores = config.output / "Pong" / "rotation-(DQN2013CNN)" / "seed0" / "scores.json"
    written = os.stat(scores).st_mtime_ns
    capsys.readouterr()
    main(config)
    assert os.stat(scores).st_mtime_ns == written
    assert "rotation" not in capsys.readouterr().err
    with pytest.raises(ValueError, match="was made with other settings"):
        main(comparison(tmp_path, pretraining=PretrainingConfig(minutes=0.03, batch_size=16)))
    with pytest.raises(ValueError, match="was made with other settings"):
        score_cell(replace(config, num_frames=3_002), rows_of(config)[0], "Pong", 0, pytest.fail)


def without_probing(monkeypatch):
    """Leaves out what takes most of a comparison's time: labels are not trained on, and every score is 1."""
    score = {"standardised": True, "summary": {"f1_mean": 1.0}, "f1": {}, "knn_f1": {}, "r2": {}}
    probed = "scripts.compare_pretraining.probe_record"
    monkeypatch.setattr(probed, lambda _, name, __, *, seed: ProbeRecord(encoder=name, game="Pong", seed=seed, **score))
    monkeypatch.setattr("scripts.compare_pretraining.train_on_labels", lambda _, encoder, **__: encoder)


def test_a_cell_that_diverged_is_named_below_the_tables_and_not_trained_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    without_probing(monkeypatch)
    config = comparison(tmp_path, methods=("rotation", "simclr"))
    update = Pretraining.update

    def diverge(self, batch, interval):
        if isinstance(self.method, Rotation):
            raise NonFiniteLossError("the loss became nan")
        update(self, batch, interval)

    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "update", diverge)
        main(config)
    for _ in range(2):
        text = (config.output / "scores.md").read_text()
        assert "- Pong, rotation (DQN2013CNN), seed 0: the loss became nan; the method is saved as" in text
        assert "| rotation" not in text
        assert text.count("| simclr (DQN2013CNN) |") == text.count(f"| {SUPERVISED} (DQN2013CNN) |") == 2
        capsys.readouterr()
        main(config)
        assert "Pong," not in capsys.readouterr().err
    with pytest.raises(ValueError, match="was made with other settings"):
        score_cell(replace(config, num_frames=3_002), rows_of(config)[1], "Pong", 0, pytest.fail)


def test_all_games_come_first(tmp_path):
    config = comparison(tmp_path, games=("Pong", "Boxing"))
    cells = {
        (game, features): [
            ProbeRecord(
                encoder="rotation",
                game=game,
                seed=0,
                standardised=features == "standardised",
                summary={"f1_mean": score},
                f1={},
                knn_f1={},
                r2={},
            )
        ]
        for features in FEATURES
        for game, score in (("Pong", 0.2), ("Boxing", 0.6))
    }
    write(config, cells, [])
    text = (config.output / "scores.md").read_text()
    first, *of_each_game = text.split("## ")[2:]
    assert "All games, features as they are" in first
    assert "| rotation | 0.400 ± 0.283 |" in first
    assert ["| rotation | 0.200 |" in part for part in of_each_game] == [True, False, True, False]


def test_a_method_that_failed_in_one_game_has_no_mean_over_the_others(tmp_path):
    config = comparison(tmp_path, games=("Pong", "Boxing"))
    record = ProbeRecord(
        encoder="rotation", game="Pong", seed=0, standardised=True, summary={"f1_mean": 0.2}, f1={}, knn_f1={}, r2={}
    )
    write(config, {("Pong", "standardised"): [record]}, [Failure("Boxing", "rotation", 0, "the loss became nan")])
    all_games, pong = (config.output / "scores.md").read_text().split("## Pong, ")
    assert "| rotation" not in all_games
    assert "| rotation | 0.200 |" in pong


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ("simclr", "byol")}, "methods are simclr, .*, got byol"),
        ({"games": ()}, "games must name at least one"),
        ({"pretraining": PretrainingConfig(steps=7)}, "the budget is --minutes, .* got 7 steps"),
        (
            {"methods": ("mae",), "transformer": "NatureCNN"},
            "the method mae needs a ViT, .* got the encoder 'NatureCNN'",
        ),
        ({"encoder": "AlexNet"}, "encoder must be one of NatureCNN, .*, got 'AlexNet'"),
        ({"games": ("Pong", "Boxin")}, "unknown Atari game 'Boxin': did you mean Boxing"),
    ],
)
def test_bad_settings_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        comparison(tmp_path, **settings)
