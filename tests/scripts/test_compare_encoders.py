import json
import os
import signal

import pytest

from agents import DQN, NonFiniteLossError
from gen_ssl.encoders import DQN2013CNN, NatureCNN
from scripts.compare_encoders import Arm, Cell, CompareEncoders, Failure, draw, main, run_config, summary_of, table_of
from scripts.run.checkpoint import load_checkpoint
from scripts.run.tensorboard import read_scalars
from scripts.train_dqn import DQNRun


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


def test_a_cell_that_diverged_is_named_below_the_table_and_not_trained_again(encoders, monkeypatch, capsys):
    config = comparison(encoders, arms=("scratch", f"frozen:{encoders}"))
    update = DQN.update

    def diverge(self, batch):
        if isinstance(self.network.encoder, DQN2013CNN):
            raise NonFiniteLossError("the loss became nan")
        return update(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(DQN, "update", diverge)
        main(config)
    for _ in range(2):
        text = (config.output / "scores.md").read_text()
        assert "| scratch | failed | failed | - | - |\n| frozen simclr | " in text
        assert "- Boxing, scratch, seed 0: the loss became nan, by step" in text
        scratch, frozen = json.loads((config.output / "scores.json").read_text())
        assert "the loss became nan" in scratch["reason"]
        assert frozen["steps"][-1] >= 960
        assert (config.output / "scores.png").exists()
        capsys.readouterr()
        main(config)
        assert "Boxing," not in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"another configuration: training.samples_per_step \(1 then, 2 now\)"):
        main(comparison(encoders, arms=config.arms, samples_per_step=2))


@pytest.mark.slow
def test_a_killed_cell_goes_on_from_the_last_fifth_that_it_had_done(encoders, monkeypatch, capsys):
    config = comparison(encoders, arms=("scratch",))

    def die(self, progress):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(DQNRun, "evaluate", die)  # at the end alone
        with pytest.raises(RuntimeError, match="killed"):
            main(config)
    saved = load_checkpoint(config.output / "Boxing" / "scratch" / "seed0" / "checkpoint.pt")
    assert 768 <= saved["training"]["steps"] < 960
    main(config)
    assert "going on from step" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("where", ["evaluate", "finish"])
def test_ctrl_c_at_the_end_of_a_cell_ends_the_comparison(encoders, monkeypatch, capsys, where):
    config = comparison(encoders, arms=("scratch", f"frozen:{encoders}"))
    original = getattr(DQNRun, where)

    def interrupt_and_go_on(self, progress):
        os.kill(os.getpid(), signal.SIGINT)
        original(self, progress)

    with monkeypatch.context() as patch:
        patch.setattr(DQNRun, where, interrupt_and_go_on)
        main(config)
    assert "saved; give the same command again to go on" in capsys.readouterr().err
    assert [cell.name for cell in (config.output / "Boxing").iterdir()] == ["scratch"]
    main(comparison(encoders, arms=("scratch",)))  # what was trained is finished
    assert len(json.loads((config.output / "scores.json").read_text())) == 1
    assert len(read_scalars(config.output / "Boxing" / "scratch" / "seed0")["final/score"]) == 1


def test_an_arm_of_which_a_seed_failed_has_no_mean_beside_the_scores_that_there_are(tmp_path):
    results = [
        Cell("Pong", "scratch", 0, [5, 10], [-20.0, 14.6], 100.0),
        Failure("Pong", "scratch", 1, "the loss became nan"),
        Cell("Boxing", "scratch", 0, [5, 10], [1.0, 2.0], 100.0),
    ]
    assert "| scratch | 14.6, failed | 2.0 | failed | - | - |" in table_of(results)
    draw(results, tmp_path / "scores.png")
    draw(results[1:2], tmp_path / "nothing.png")


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


def test_other_braces_than_those_of_the_game_are_part_of_the_path():
    assert Arm.of("frozen:runs/{game}/atc/seed{seed}/encoder").saved("Pong") == "runs/Pong/atc/seed{seed}/encoder"


def test_an_encoder_that_is_not_there_is_refused_before_anything_is_trained(encoders):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        comparison(encoders, games=("Seaquest",))


def test_arms_of_one_name_are_refused(encoders):
    with pytest.raises(ValueError, match="arms must have different names, .* got frozen simclr, frozen simclr"):
        comparison(encoders, arms=(f"frozen:{encoders}", f"frozen:elsewhere/{encoders.name}"))


def test_games_that_cannot_be_put_together_are_refused_before_anything_is_trained(encoders):
    with pytest.raises(ValueError, match="there is no human score of Pooyan"):
        comparison(encoders, arms=("scratch",), games=("Pong", "Pooyan"))
