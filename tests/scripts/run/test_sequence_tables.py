from dataclasses import replace

from scripts.run.sequence_config import SequenceRunConfig
from scripts.run.sequence_costs import Cost
from scripts.run.sequence_result import SequenceResult
from scripts.run.sequence_tables import costs_table, lengths_table, results_table, settings_table

FIRST = SequenceResult(
    task="copying",
    model="s4",
    seed=0,
    learning_rate=3e-3,
    steps=11,
    tokens=6_000,
    seconds=60.0,
    parameters=12_345,
    state_size=128,
    best_step=11,
    validation={"loss": 0.5, "accuracy": 0.75},
    test={"loss": 0.25, "accuracy": 0.9},
    lengths={"64": {"loss": 0.5, "accuracy": 0.5}},
    state_sizes={"64": 128},
    curve=[],
    backend="PyTorch",
)
SECOND = replace(FIRST, seed=1, test={"loss": 0.25, "accuracy": 0.8}, lengths={"64": {"loss": 0.5, "accuracy": 0.25}})
SUM = replace(FIRST, model="gru", test={"loss": 0.0123}, validation={"loss": 0.0125}, lengths={})


def test_seeds_of_a_model_share_a_row_that_shows_each():
    row = results_table([FIRST, SECOND]).splitlines()[-1]
    assert row == "| s4 | 12,345 | 128 | 0.003 | 85.0 | 90.0, 80.0 | 1.0 | 100 |"
    assert lengths_table([FIRST, SECOND]).splitlines()[-1] == "| s4 | 37.5 (50.0, 25.0) |"


def test_a_regression_shows_its_squared_error():
    table = results_table([SUM])
    assert "test loss, mean" in table
    assert "| 0.0123 | 0.0123 |" in table


def test_settings_show_every_rate_that_was_tried():
    config = SequenceRunConfig(model="s4")
    tried = [FIRST, replace(FIRST, learning_rate=1e-2, validation={"loss": 1.0, "accuracy": 0.5})]
    row = settings_table([config], [*tried, SUM]).splitlines()[-1]
    assert row.startswith("| s4 | 64 | 2 | none | 32 |")
    assert row.endswith("| 0.003: 75.0, 0.01: 50.0 |")


def test_a_model_without_a_length_leaves_its_cell_empty():
    table = costs_table({"s4": [Cost(7, 0.002, 3_000_000), Cost(13, 0.5, 40_000_000)], "gru": [Cost(7, 0.001, 10**6)]})
    assert table.splitlines()[2:] == ["| s4 | 2 ms, 3 MB | 500 ms, 40 MB |", "| gru | 1 ms, 1 MB |  |"]


def test_a_result_comes_back_from_its_file_and_is_missing_before(tmp_path):
    assert SequenceResult.read(tmp_path) is None
    FIRST.write(tmp_path)
    assert SequenceResult.read(tmp_path) == FIRST
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_the_better_validation_ranks_higher_and_loss_decides_between_equals():
    better_loss = replace(FIRST, validation={"loss": 0.4, "accuracy": 0.75})
    assert better_loss.validation_rank > FIRST.validation_rank
    assert replace(FIRST, validation={"loss": 0.9, "accuracy": 0.8}).validation_rank > better_loss.validation_rank
    assert replace(SUM, validation={"loss": 0.01}).validation_rank > SUM.validation_rank
