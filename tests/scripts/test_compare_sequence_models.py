import json
import os
import signal
from dataclasses import replace

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from scripts import compare_sequence_models
from scripts.compare_sequence_models import CompareSequenceModels, Comparison, planned_models, with_budget
from scripts.run import sequence_run
from scripts.run.run_directory import RunDirectory
from scripts.run.sequence_assembly import build_task
from scripts.run.sequence_config import LAPTOP_RATES, LEARNING_RATES, preset_for
from scripts.run.sequence_costs import Cost
from scripts.run.sequence_result import Divergence, SequenceResult
from scripts.run.sequence_run import train_to_the_end
from scripts.run.tensorboard import read_scalars
from seqmodels.training import NonFiniteLossError


def comparison(path, **changes):
    """Two small recurrent networks, two rates, two seeds: 4 searches and 4 cells."""
    settings = {
        "preset": "laptop",
        "models": ("gru", "lstm"),
        "seeds": (1, 2),
        "learning_rates": (1e-3, 1e-2),
        "total_steps": 5,
        "d_model": 7,
        "search_steps": 2,
        "test_lengths": (11,),
        "cost_lengths": (),
        "device": "cpu",
        "threads": 1,
        "output": path,
    }
    return CompareSequenceModels(**{**settings, **changes})


def results_of(path):
    """Every cell's result, without what the clock says."""
    found = {}
    for file in sorted(path.glob("*/*/result.json")):
        result = SequenceResult.read(file.parent)
        curve = [{name: value for name, value in point.items() if name != "seconds"} for point in result.curve]
        found[str(file.parent.relative_to(path))] = replace(result, seconds=0.0, curve=curve)
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("comparison")
    compare_sequence_models.main(comparison(path))
    return path


def test_every_rate_is_tried_on_one_seed_and_every_seed_trained_with_the_best_on_validation(finished):
    results = results_of(finished)
    for model in ("gru", "lstm"):
        tried = [results[f"{model}/seed1-rate{rate}-steps2"] for rate in ("0.001", "0.01")]
        best = max(tried, key=lambda result: result.last_validation_rank).learning_rate
        for seed in (1, 2):
            cell = results[f"{model}/seed{seed}-rate{best:g}-steps5"]
            assert (cell.steps, cell.learning_rate, cell.seed) == (5, best, seed)
            assert list(cell.lengths) == ["19"]
    assert len(results) == 8


def test_a_comparison_writes_tables_figures_and_pictures_and_tensorboard_runs(finished):
    text = (finished / "comparison.md").read_text()
    results = json.loads((finished / "comparison.json").read_text())["results"]
    row = next(line for line in text.splitlines() if line.startswith("| lstm | ") and "minutes" not in line)
    assert f"{results[2]['parameters']:,}" in row
    assert f"{100 * results[2]['test']['accuracy']:.1f}, {100 * results[3]['test']['accuracy']:.1f}" in row
    assert "L 19" in text
    for name in ("curves", "sizes", "lengths"):
        with Image.open(finished / f"{name}.png") as picture:
            assert min(picture.size) > 300
    events = EventAccumulator(str(finished / "comparison"))
    events.Reload()
    assert set(events.Tags()["images"]) == {"comparison/curves", "comparison/lengths", "comparison/sizes"}
    for cell in results_of(finished):
        assert "validation/accuracy" in read_scalars(finished / cell)


def test_a_comparison_that_was_stopped_goes_on_and_trains_no_finished_cell_again(
    finished, tmp_path, monkeypatch, capsys
):
    log = sequence_run.SequenceRun.log
    logged = []

    def log_and_interrupt(self, metrics):
        log(self, metrics)
        logged.append(self.directory.path)
        if self.config.label == "lstm" and self.steps == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(sequence_run.SequenceRun, "log", log_and_interrupt)
        compare_sequence_models.main(comparison(tmp_path))
    assert "give the same command again" in capsys.readouterr().err
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/result.json")}
    assert 0 < len(done) < 8
    assert Comparison(comparison(tmp_path)).run()
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert results_of(tmp_path) == results_of(finished)


def test_other_settings_in_the_same_folder_are_refused_before_another_model_is_trained(finished):
    with pytest.raises(ValueError, match=r"lstm/.* another configuration: architecture.d_model \(7 then, 14 now\)"):
        compare_sequence_models.main(comparison(finished, models=("s4", "lstm"), d_model=14))
    assert not (finished / "s4").exists()


@pytest.mark.parametrize("cell", ["gru/seed1-rate0.01-steps2", "lstm/seed2-rate0.001-steps5"])
def test_every_cell_that_may_come_is_looked_at_before_anything_is_trained(cell, tmp_path):
    other = replace(preset_for("selective-copying", "laptop").run, model=cell[:3])
    RunDirectory.create(tmp_path / cell, config=other, label="other")
    with pytest.raises(ValueError, match=f"{cell} cannot be resumed with another configuration"):
        Comparison(comparison(tmp_path))


def test_a_search_on_the_whole_budget_is_that_seeds_cell_as_well(tmp_path):
    assert Comparison(comparison(tmp_path, models=("gru",), seeds=(1,), search_steps=5)).run()
    assert len(results_of(tmp_path)) == 2


def test_rates_after_one_that_solves_the_task_are_not_tried(tmp_path, monkeypatch):
    settings = preset_for("selective-copying", "laptop")
    easy = replace(settings.run, training=replace(settings.run.training, stop_at_accuracy=1e-9))  # chance is enough
    monkeypatch.setattr(compare_sequence_models, "preset_for", lambda *_: replace(settings, run=easy))
    comparing = Comparison(comparison(tmp_path, models=("gru",), seeds=(1,), total_steps=20, search_steps=5))
    assert comparing.run()
    assert [(cell.learning_rate, cell.steps) for cell in comparing.searched] == [(1e-3, 2)]
    assert [(cell.learning_rate, cell.steps) for cell in comparing.cells] == [(1e-3, 2)]


def test_a_rate_with_which_a_model_diverges_is_passed_over_and_never_tried_again(tmp_path, monkeypatch, capsys):
    # 1e38: the weights overflow in the first update, and the second has no finite gradient.
    config = comparison(tmp_path, models=("gru",), seeds=(1,), learning_rates=(1e38, 1e-3), search_steps=3)
    assert Comparison(config).run()
    assert "gru, seed1-rate1e+38-steps3 diverged: the gradient's norm is" in capsys.readouterr().err
    assert "gru/seed1-rate0.001-steps5" in results_of(tmp_path)
    monkeypatch.setattr(compare_sequence_models, "train_to_the_end", None)
    again = Comparison(config)
    assert again.run()
    assert [isinstance(cell, Divergence) for cell in again.searched] == [True, False]


def test_a_model_that_diverges_with_every_rate_is_left_out_and_one_at_least_has_to_learn(tmp_path):
    config = comparison(tmp_path, models=("gru",), seeds=(1,), learning_rates=(1e38, 2e38), search_steps=3)
    comparing = Comparison(config)
    with pytest.raises(ValueError, match=r"every model diverged, with rates from 1e\+38 up: try smaller ones"):
        comparing.run()
    assert [cell.model for cell in comparing.cells] == ["gru"]


def test_a_diverged_seed_is_shown_the_others_go_on_and_it_is_not_trained_again(tmp_path, monkeypatch):
    def diverge_once(run):
        if (run.config.label, run.config.seed) == ("gru", 1):
            raise NonFiniteLossError("the loss became nan")
        return train_to_the_end(run)

    config = comparison(tmp_path, learning_rates=(1e-3,))
    with monkeypatch.context() as patch:
        patch.setattr(compare_sequence_models, "train_to_the_end", diverge_once)
        compare_sequence_models.main(config)
    row = next(line for line in (tmp_path / "comparison.md").read_text().splitlines() if line.startswith("| gru | "))
    assert "| diverged | diverged, " in row
    found = json.loads((tmp_path / "comparison.json").read_text())
    assert [(cell["model"], cell["seed"], cell["reason"]) for cell in found["diverged"]] == [
        ("gru", 1, "the loss became nan")
    ]
    assert [(cell["model"], cell["seed"]) for cell in found["results"]] == [("gru", 2), ("lstm", 1), ("lstm", 2)]
    monkeypatch.setattr(compare_sequence_models, "train_to_the_end", None)
    compare_sequence_models.main(config)


def test_the_search_has_the_presets_share_of_the_steps_that_are_asked_for(tmp_path):
    # Selective copying's laptop preset tries rates for 1,000 of 4,000 steps.
    config = comparison(tmp_path, models=("gru",), seeds=(1,), total_steps=8, search_steps=0)
    comparing = Comparison(config)
    assert comparing.run()
    assert [cell.steps for cell in comparing.searched] == [2, 2]


def test_one_rate_needs_no_search(tmp_path):
    assert Comparison(comparison(tmp_path, models=("gru",), seeds=(1,), learning_rates=(2e-3,))).run()
    assert list(results_of(tmp_path)) == ["gru/seed1-rate0.002-steps5"]


def test_sizes_of_the_state_make_models_of_their_own_where_a_mixer_has_them(tmp_path):
    config = comparison(tmp_path, models=("gru", "s4"), d_states=(4, 8))
    labels = [model.label for model in planned_models(config, preset_for("mqar", "laptop"))]
    assert labels == ["gru", "s4-state4", "s4-state8"]


def test_all_models_of_a_comparison_share_everything_but_the_mixer(tmp_path):
    models = Comparison(comparison(tmp_path, models=("attention-rotary", "s4", "mamba"), d_model=8)).models
    assert len({str(replace(model, model="")) for model in models}) == 1


def test_beside_a_pretrained_model_every_model_reads_pixels_as_tokens():
    def inputs(*models):
        config = CompareSequenceModels(task="sequential-digits", models=models)
        planned = planned_models(config, preset_for("sequential-digits", "laptop"))
        return [build_task(model).spec.input for model in planned]

    assert inputs("gru", "lstm") == ["values", "values"]
    assert inputs("gru", "gru+pretrained", "lstm") == ["tokens", "tokens", "tokens"]


def test_the_precision_asked_for_is_every_models(tmp_path):
    config = comparison(tmp_path, precision="bfloat16")
    assert [model.precision for model in Comparison(config).models] == ["bfloat16", "bfloat16"]


def test_the_default_is_the_quick_preset_with_one_rate_and_that_of_other_tasks_searches(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # whose folder of runs is empty
    quick = CompareSequenceModels()
    assert str(quick.folder) == "runs/compare-selective-copying-quick"
    assert Comparison(quick).rates == (3e-3,)
    other = CompareSequenceModels(task="mqar", models=("gru",))
    assert str(other.folder) == "runs/compare-mqar-laptop"
    assert Comparison(other).rates == LAPTOP_RATES
    assert preset_for("mqar", "paper").learning_rates == LEARNING_RATES


def test_another_budget_keeps_the_shares_of_warm_up_and_validations():
    run = preset_for("selective-copying", "laptop").run
    half = with_budget(run, run.training.total_steps // 2)
    assert half.training.optimizer.warmup_steps == run.training.optimizer.warmup_steps // 2
    assert half.training.validate_every_steps == run.training.validate_every_steps // 2
    assert with_budget(half, run.training.total_steps) == run


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ()}, "models must name at least one"),
        ({"models": ("s4", "s4")}, "models must be different, got s4 s4"),
        ({"seeds": (0, 1, 0)}, "seeds must be different, got 0 1 0"),
        ({"seeds": (1, -1)}, "seeds must be at least 0, got -1"),
        ({"cost_lengths": (0,)}, "lengths must be at least 1"),
        ({"cost_batch_size": 0}, "cost_batch_size must be at least 1, got 0"),
        ({"search_steps": -1}, "search_steps must be at least 0, got -1"),
        ({"learning_rates": (1e-3, -1.0)}, "learning_rate must be greater than 0, got -1.0"),
        ({"models": ("gru", "attention-rotary")}, "d_model must be a multiple of num_heads, got 7 and 4"),
        ({"d_states": (4, 0), "models": ("gru", "mamba")}, "d_state must be at least 1, got 0"),
        ({"test_lengths": (3,)}, "num_tokens must be between 1 and num_slots=3, got 8"),
        ({"models": ("gru", "gruu")}, "unknown mixer 'gruu': did you mean gru"),
        ({"task": "adder"}, "unknown task 'adder': did you mean adding"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_written(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        compare_sequence_models.main(comparison(tmp_path / "new", **change))
    assert not (tmp_path / "new").exists()


def test_results_are_written_before_costs_are_measured(tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(compare_sequence_models, "costs_in_a_fresh_process", interrupt)
    config = comparison(tmp_path, models=("gru",), seeds=(1,), learning_rates=(1e-3,), cost_lengths=(7,))
    with pytest.raises(KeyboardInterrupt):
        compare_sequence_models.main(config)
    assert "| gru | " in (tmp_path / "comparison.md").read_text()


def test_figures_keep_the_machine_they_were_found_on_and_costs_are_measured_again_on_another(tmp_path, monkeypatch):
    measured = []

    def measure(workload, settings):
        measured.append(settings.threads)
        return [Cost(length, 0.5 * settings.threads, 10**6) for length in settings.lengths]

    monkeypatch.setattr(compare_sequence_models, "costs_in_a_fresh_process", measure)
    changes = {"models": ("gru",), "seeds": (1,), "learning_rates": (1e-3,), "cost_lengths": (7,)}
    config = comparison(tmp_path, **changes)
    for _ in range(2):
        compare_sequence_models.main(config)
    assert measured == [1]
    compare_sequence_models.main(replace(config, threads=2))
    assert measured == [1, 2]
    text = (tmp_path / "comparison.md").read_text()
    note, costs = text.split("## ")[0], text.split("## Forward and backward")[1]
    assert "cores), threads 1, torch" in note
    assert "threads 2" not in note
    assert "cores), threads 2, torch" in costs
    assert "1e+03 ms" in costs
    file = tmp_path / "gru/costs-batch8.json"
    file.write_text(json.dumps({"lengths": [7], "costs": [[7, 0.5, 10]]}))  # as it was before machines were written
    compare_sequence_models.main(config)
    assert measured == [1, 2, 1]
    assert (tmp_path / "costs.png").exists()
    compare_sequence_models.main(replace(config, cost_lengths=()))
    assert not (tmp_path / "costs.png").exists(), "a picture of an earlier call"


def test_costs_are_those_of_the_same_model_and_inputs(tmp_path, monkeypatch):
    measured = []

    def measure(workload, settings):
        measured.append(workload.config.architecture.d_model)
        return [Cost(length, 1e-3 * workload.config.architecture.d_model, 10**6) for length in settings.lengths]

    def costs(**changes):
        config = comparison(tmp_path, models=("gru",), cost_lengths=(7,), **changes)
        return [cost.seconds for cost in Comparison(config).costs()["gru"]]

    monkeypatch.setattr(compare_sequence_models, "costs_in_a_fresh_process", measure)
    assert [costs(), costs(), costs(d_model=14), costs(d_model=14)] == [[0.007], [0.007], [0.014], [0.014]]
    assert measured == [7, 14]
    costs(d_model=14, task="copying", test_lengths=(29,))
    assert measured == [7, 14, 14]
    costs(d_model=14, task="copying", test_lengths=(29,), learning_rates=(2e-3,), total_steps=9)
    assert len(measured) == 3


def test_a_cell_killed_while_its_folder_was_made_is_trained_from_the_start(tmp_path, monkeypatch):
    config = comparison(tmp_path, models=("gru",), seeds=(1,), learning_rates=(1e-3,))
    create = RunDirectory.create

    def killed(path, **options):
        (create(path, **options).path / "config.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "create", killed)
        with pytest.raises(KeyboardInterrupt):
            Comparison(config).run()
    assert Comparison(config).run()
    assert list(results_of(tmp_path)) == ["gru/seed1-rate0.001-steps5"]


@pytest.mark.slow
def test_costs_are_measured_once_and_drawn(tmp_path):
    config = comparison(tmp_path, models=("gru",), seeds=(1,), learning_rates=(1e-3,), cost_lengths=(7, 13))
    compare_sequence_models.main(config)
    costs = json.loads((tmp_path / "comparison.json").read_text())["costs"]["gru"]
    assert [cost["length"] for cost in costs] == [7, 13]
    assert all(cost["seconds"] > 0 for cost in costs)
    assert (tmp_path / "costs.png").exists()
    assert [length for length, _ in read_scalars(tmp_path / "gru/costs")["cost/milliseconds"]] == [7, 13]
    compare_sequence_models.main(config)
    assert json.loads((tmp_path / "comparison.json").read_text())["costs"]["gru"] == costs
