from pathlib import Path

import pytest

from scripts.run.atari_sequences import ATARI_QUESTIONS
from scripts.run.config_file import config_from_json, config_to_json
from scripts.run.sequence_config import PRESETS, ArchitectureConfig, SequenceRunConfig, with_total_steps
from seqmodels.mixers import MIXERS
from seqmodels.tasks import TASKS

PAGE = Path(__file__).parents[3] / "docs/sequences.md"


def test_every_preset_of_a_task_has_settings_and_no_other_has():
    of_play = {("laptop", task) for task in ATARI_QUESTIONS}
    assert set(PRESETS) == of_play | {(preset, task) for task, presets in TASKS.items() for preset in presets}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: "-".join(preset))
def test_the_page_has_the_preset_as_it_is(preset):
    settings = PRESETS[preset]
    run = settings.run
    size = f"{run.architecture.d_model}, {run.architecture.num_layers}"
    size += ", both directions" if run.architecture.bidirectional else ""
    lengths = ", ".join(f"{length:,}" for length in run.test_lengths)
    searched = f"{settings.search_steps:,}" if len(settings.learning_rates) > 1 else ""
    budget = f"{run.training.batch_size} | {run.training.total_steps:,} | {searched}"
    row = f"| {run.task} | `{run.preset}` | {size} | {budget} | {lengths} |"
    assert row in PAGE.read_text(encoding="utf-8").splitlines()


def test_a_preset_comes_back_from_its_file():
    for settings in PRESETS.values():
        assert config_from_json(SequenceRunConfig, config_to_json(settings.run)) == settings.run


def test_only_attention_has_a_feed_forward_layer_unless_asked():
    widths = {name: ArchitectureConfig(d_model=7).feed_forward_dim(name) for name in MIXERS}
    assert {name for name, width in widths.items() if width} == {
        name for name in MIXERS if name[:4] in ("atte", "infi")
    }
    assert widths["attention-rotary"] == 28
    assert ArchitectureConfig(d_model=7, feed_forward="2").feed_forward_dim("mamba") == 14
    assert ArchitectureConfig(d_model=7, feed_forward="none").feed_forward_dim("attention-rotary") is None


def test_a_label_tells_models_of_one_mixer_apart():
    assert SequenceRunConfig(model="mamba").label == "mamba"
    assert SequenceRunConfig(model="mamba", architecture=ArchitectureConfig(d_state=8)).label == "mamba-state8"
    assert SequenceRunConfig(model="s4", pretraining_steps=5).label == "s4+pretrained"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ArchitectureConfig(d_model=0), "d_model must be at least 1, got 0"),
        (lambda: ArchitectureConfig(d_state=0), "d_state must be at least 1, got 0"),
        (lambda: ArchitectureConfig(dt_min=0.0), "dt_min must be above 0, got 0.0"),
        (lambda: ArchitectureConfig(num_heads=-4), "num_heads must be at least 1, got -4"),
        (lambda: ArchitectureConfig(dropout=1.0), r"dropout must be within \[0, 1\), got 1.0"),
        (lambda: SequenceRunConfig(checkpoint_every_steps=0), "checkpoint_every_steps must be at least 1, got 0"),
        (lambda: SequenceRunConfig(pretraining_steps=-1), "pretraining_steps must be at least 0, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_long_run_logs_and_saves_as_often_as_a_shorter_one_and_so_does_its_search():
    paper, laptop = PRESETS["paper", "induction-heads"], PRESETS["laptop", "induction-heads"]
    assert (laptop.run.training.log_every_steps, laptop.run.checkpoint_every_steps) == (40, 400)
    assert (paper.run.training.log_every_steps, paper.run.checkpoint_every_steps) == (100, 2_000)
    assert with_total_steps(paper.run.training, paper.search_steps).log_every_steps == 100
    assert with_total_steps(paper.run.training, 50).log_every_steps == 1


def test_budgets_end_early_only_where_nothing_is_learned_after_the_task_itself():
    training = {preset: settings.run.training for preset, settings in PRESETS.items()}
    stopping = {preset for preset, its in training.items() if its.stop_at_accuracy or its.stop_at_loss}
    assert stopping == {
        ("quick", "selective-copying"),
        ("laptop", "selective-copying"),
        ("laptop-256", "selective-copying"),
        ("laptop", "mqar"),
        ("laptop", "adding"),
    }
