import json
from dataclasses import replace

from scripts.run.sequence_config import SequenceRunConfig
from scripts.run.sequence_costs import Cost
from scripts.run.sequence_result import Divergence, SequenceResult
from scripts.run.sequence_tables import costs_table, lengths_table, results_table, settings_table, trained_on

FIRST = SequenceResult(
    task="copying",
    model="s4",
    seed=0,
    learning_rate=3e-3,
    steps=11,
    tokens=6_000,
    seconds=90.0,
    parameters=12_345,
    state_size=128,
    best_step=7,
    validation={"loss": 0.5, "accuracy": 0.8},
    test={"loss": 0.25, "accuracy": 0.9},
    lengths={"64": {"loss": 0.5, "accuracy": 0.5}},
    state_sizes={"64": 128},
    curve=[
        {"step": 7.0, "tokens": 4_000.0, "seconds": 40.0, "loss": 0.5, "accuracy": 0.8},
        {"step": 11.0, "tokens": 6_000.0, "seconds": 60.0, "loss": 0.4, "accuracy": 0.75},
    ],
    backend="PyTorch",
    device="cpu (2 of 2 cores)",
    threads=2,
    torch="2.0",
)
SECOND = replace(FIRST, seed=1, test={"loss": 0.25, "accuracy": 0.8}, lengths={"64": {"loss": 0.5, "accuracy": 0.25}})
SUM = replace(
    FIRST,
    model="gru",
    test={"loss": 0.0123},
    validation={"loss": 0.0125},
    lengths={},
    curve=[{"step": 11.0, "tokens": 6_000.0, "seconds": 60.0, "loss": 0.0125}],
)
LOST = Divergence(model="s4", seed=2, learning_rate=3e-3, reason="the gradient's norm is nan")


def ending_with(result, **metrics):
    """The result with another last validation."""
    return replace(result, curve=[*result.curve[:-1], result.curve[-1] | metrics])


def test_seeds_of_a_model_share_a_row_that_shows_each():
    row = results_table([FIRST, SECOND]).splitlines()[-1]
    # 6,000 tokens within the minute before the last validation; the other half minute went into tests.
    assert row == "| s4 | 12,345 | 128 | 0.003 | 85.0 | 90.0, 80.0 | 11 | 1.5 | 100 |"
    assert lengths_table([FIRST, SECOND]).splitlines()[-1] == "| s4 | 37.5 (50.0, 25.0) |"


def test_a_diverged_seed_stands_in_its_place_and_leaves_no_mean():
    rows = results_table([FIRST, LOST, SECOND, replace(LOST, model="mamba")]).splitlines()
    assert rows[-2] == "| s4 | 12,345 | 128 | 0.003 | diverged | 90.0, diverged, 80.0 | 11 | 1.5 | 100 |"
    assert rows[-1] == "| mamba |  |  | 0.003 | diverged | diverged |  |  |  |"


def test_a_regression_shows_its_squared_error():
    table = results_table([SUM])
    assert "test loss, mean" in table
    assert "| 0.0123 | 0.0123 |" in table


def test_settings_show_the_last_validation_of_every_rate_that_was_tried():
    config = SequenceRunConfig(model="s4")
    tried = [FIRST, ending_with(replace(FIRST, learning_rate=1e-2), accuracy=0.5), replace(LOST, learning_rate=0.1)]
    row = settings_table([config], [*tried, SUM]).splitlines()[-1]
    assert row.startswith("| s4 | 64 | 2 | none | 32 |")
    assert row.endswith("| 0.003: 75.0, 0.01: 50.0, 0.1: diverged |")


def test_a_model_without_a_length_leaves_its_cell_empty():
    table = costs_table({"s4": [Cost(7, 0.002, 3_000_000), Cost(13, 0.5, 40_000_000)], "gru": [Cost(7, 0.001, 10**6)]})
    assert table.splitlines()[2:] == ["| s4 | 2 ms, 3 MB | 500 ms, 40 MB |", "| gru | 1 ms, 1 MB |  |"]


def test_a_result_and_a_divergence_come_back_from_their_files_and_are_missing_before(tmp_path):
    for cell, name in ((FIRST, "result.json"), (LOST, "diverged.json")):
        folder = tmp_path / name.removesuffix(".json")
        folder.mkdir()
        assert type(cell).read(folder) is None
        cell.write(folder)
        assert type(cell).read(folder) == cell
        assert [path.name for path in folder.iterdir()] == [name]


def test_a_result_from_before_its_machine_was_written_is_read(tmp_path):
    FIRST.write(tmp_path)
    values = json.loads((tmp_path / "result.json").read_text())
    for name in ("device", "threads", "torch"):
        del values[name]
    (tmp_path / "result.json").write_text(json.dumps(values))
    old = SequenceResult.read(tmp_path)
    assert old == replace(FIRST, device="", threads=0, torch="")
    assert trained_on([old]) == "an unrecorded device"


def test_machines_are_named_with_their_models_where_they_differ():
    first = "cpu (2 of 2 cores), threads 2, torch 2.0"
    assert trained_on([FIRST, SECOND]) == first
    other = replace(SUM, device="cuda (H200)", threads=16)
    assert trained_on([FIRST, SECOND, other]) == f"{first} (s4); cuda (H200), threads 16, torch 2.0 (gru)"


def test_the_better_last_validation_ranks_higher_and_loss_decides_between_equals():
    assert ending_with(FIRST, loss=0.3).last_validation_rank > FIRST.last_validation_rank
    assert ending_with(FIRST, loss=0.9, accuracy=0.76).last_validation_rank > FIRST.last_validation_rank
    assert ending_with(SUM, loss=0.01).last_validation_rank > SUM.last_validation_rank
    # A better one in between counts for nothing.
    lucky = replace(FIRST, curve=[FIRST.curve[0] | {"accuracy": 0.99}, FIRST.curve[1]])
    assert lucky.last_validation_rank == FIRST.last_validation_rank
