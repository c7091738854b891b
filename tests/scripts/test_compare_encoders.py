import json
import os

import pytest

from gen_ssl.encoders import NatureCNN
from scripts.compare_encoders import Arm, Cell, CompareEncoders, main, run_config, summary_of, table_of


@pytest.fixture
def encoders(tmp_path):
    for game in ("Pong", "Boxing"):
        NatureCNN(feature_dim=61).save_pretrained(tmp_path / game / "simclr")
    return tmp_path / "{game}" / "simclr"


def comparison(encoders, **settings):
    return CompareEncoders(
        **{
            "arms": ("scratch", f"frozen:{encoders}", f"finetune:{encoders}"),
            "games": ("Boxing",),
            "seeds": (0,),
            "encoder": "DQN2013CNN",
            "encoder_learning_rate": 1e-5,
            "total_steps": 960,
            "samples_per_step": 1,
            "evaluate_every_steps": 960,
            "num_games": 1,
            "compile": "off",
            "threads": 1,
            "output": encoders.parents[1] / "compared",
            **settings,
        }
    )


def test_arms_have_the_same_budget_and_differ_in_the_encoder_alone(encoders):
    config = comparison(encoders, games=("Pong", "Boxing"))
    scratch, frozen, finetuned = (run_config(config, "Pong", Arm.of(text), 5) for text in config.arms)
    assert scratch.encoder == "DQN2013CNN"
    assert frozen.encoder == finetuned.encoder == str(encoders).replace("{game}", "Pong")
    assert (scratch.encoder_mode, frozen.encoder_mode, finetuned.encoder_mode) == ("finetune", "frozen", "finetune")
    assert (scratch.dqn.encoder_learning_rate, finetuned.dqn.encoder_learning_rate) == (None, 1e-5)
    assert scratch.training == frozen.training == finetuned.training
    assert scratch.seed == frozen.seed == finetuned.seed == 5


def test_a_comparison_given_again_trains_only_what_is_missing(encoders, capsys):
    config = comparison(encoders, arms=("scratch", f"frozen:{encoders}"))
    main(config)
    output = config.output
    text = (output / "scores.md").read_text()
    assert "| frozen simclr |" in text
    assert "rest on the frames and minutes of their encoder's pretraining as well" in text
    cells = json.loads((output / "scores.json").read_text())
    assert [cell["arm"] for cell in cells] == ["scratch", "frozen simclr"]
    assert all(cell["steps"][-1] >= 960 and cell["steps_per_second"] > 0 for cell in cells)
    assert not (output / "Boxing" / "scratch" / "seed0" / "videos").exists()
    checkpoint = output / "Boxing" / "frozen-simclr" / "seed0" / "checkpoint.pt"
    written = os.stat(checkpoint).st_mtime_ns
    capsys.readouterr()
    main(config)
    assert os.stat(checkpoint).st_mtime_ns == written
    assert "Boxing, scratch" not in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"another configuration: training.samples_per_step \(1 then, 2 now\)"):
        main(comparison(encoders, arms=config.arms, samples_per_step=2))
    other = encoders.parents[1] / "other" / "simclr"  # the same name, and so the same cell
    NatureCNN(feature_dim=61).save_pretrained(other)
    with pytest.raises(ValueError, match=r"another configuration: encoder \(.* then, .*other/simclr' now\)"):
        main(comparison(encoders, arms=("scratch", f"frozen:{other}")))


def test_the_interquartile_mean_leaves_a_quarter_of_the_scores_out_on_either_side():
    # Human-normalised Pong: (score + 20.7) / 35.3.
    scores = [-20.7, -20.7 + 35.3, -20.7 + 0.4 * 35.3, -20.7 + 0.6 * 35.3]
    cells = [Cell("Pong", "scratch", seed, [10], [score], 100.0) for seed, score in enumerate(scores)]
    assert summary_of(cells, "scratch").interquartile_mean.value == pytest.approx(0.5)
    assert "| scratch | -20.7, 14.6, -6.6, 0.5 | 0.500 |" in table_of(cells)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "frozen",
        "frozen:",
        "scratch:path",
        "melted:path",
        "frozen:encoder",
        "finetune:{game}/encoder",
        "frozen:/",
        "frozen:seed0/encoder",
    ],
)
def test_an_arm_that_is_none_is_refused(text):
    with pytest.raises(
        ValueError, match=r"an arm must be scratch, frozen:PATH or finetune:PATH, with a name in PATH .*, got"
    ):
        Arm.of(text)


def test_an_arm_is_called_after_the_last_folder_that_says_something():
    assert Arm.of("frozen:runs/{game}/atc-(NatureCNN)/seed0/encoder").name == "frozen atc-(NatureCNN)"
    assert Arm.of("finetune:/runs/Pong-atc/encoder").name == "finetune Pong-atc"


def test_an_encoder_that_is_not_there_is_refused_before_anything_is_trained(encoders):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        comparison(encoders, games=("Seaquest",))


def test_arms_of_one_name_are_refused(encoders):
    with pytest.raises(ValueError, match="arms must have different names, .* got frozen simclr, frozen simclr"):
        comparison(encoders, arms=(f"frozen:{encoders}", f"frozen:elsewhere/{encoders.name}"))


def test_games_that_cannot_be_put_together_are_refused_before_anything_is_trained(encoders):
    with pytest.raises(ValueError, match="there is no human score of Pooyan"):
        comparison(encoders, arms=("scratch",), games=("Pong", "Pooyan"))
