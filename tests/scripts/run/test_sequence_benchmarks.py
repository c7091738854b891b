import pytest

from scripts.run.benchmark_records import BenchmarkRecord
from scripts.run.sequence_benchmarks import Entry, by_length, measure_passes, measure_steps, ratios
from scripts.run.sequence_costs import Cost, CostSettings
from scripts.run.sequence_workloads import Layer, Stepping

SETTINGS = CostSettings((7, 13))


def record(implementation, setting, value, benchmark="mamba, time"):
    return BenchmarkRecord(benchmark=benchmark, implementation=implementation, setting=setting, value=value, unit="ms")


def entry(implementation):
    layer = Layer(implementation=implementation, model="mamba", d_model=8, batch_size=2)
    return Entry(benchmark="mamba", implementation=implementation, name="one layer", subject=layer)


def test_a_ratio_is_taken_against_each_of_ours_of_its_benchmark_and_length():
    records = [
        record("cartridge", "cpp, L 2,048", 2.0),
        record("cartridge", "torch, L 2,048", 4.0),
        record("cartridge", "cpp, L 64", 1.0),
        record("cartridge", "cpp, L 2,048", 5.0, "mamba2, time"),
        record("mambapy", "fallback, L 2,048", 20.0),
    ]
    assert [(ratio.benchmark, ratio.setting, ratio.value, ratio.unit) for ratio in ratios(records)] == [
        ("mamba, time", "over cpp, L 2,048", 10.0, "x"),
        ("mamba, time", "over torch, L 2,048", 5.0, "x"),
    ]


def test_a_pass_too_small_to_be_seen_has_no_ratio():
    assert ratios([record("cartridge", "cpp, L 64", 0.0), record("mambapy", "fallback, L 64", 3.0)]) == []


def test_costs_of_all_rounds_come_together_by_length():
    rounds = [[Cost(7, 1.0, 2), Cost(13, 3.0, 4)], [Cost(7, 5.0, 6)]]  # the second gave up after the first length
    assert by_length(rounds) == {7: [Cost(7, 1.0, 2), Cost(7, 5.0, 6)], 13: [Cost(13, 3.0, 4)]}


def test_subjects_take_turns_and_each_figure_is_the_median_of_its_rounds(monkeypatch):
    asked = []

    def measure(subject, settings):
        asked.append(subject.implementation)
        seconds = len(asked) * (1e-3 if subject.implementation == "cartridge" else 1e-2)
        return [Cost(length, seconds, 1_000_000) for length in settings.lengths]

    monkeypatch.setattr("scripts.run.sequence_benchmarks.costs_in_a_fresh_process", measure)
    records = measure_passes([entry("cartridge"), entry("mambapy")], SETTINGS, 3)
    assert asked == ["cartridge", "mambapy"] * 3
    found = {(one.benchmark, one.implementation, one.setting): (one.value, one.unit) for one in records}
    assert found["mamba, time", "cartridge", "one layer, L 13"] == (pytest.approx(3.0), "ms")  # of 1, 3 and 5
    assert found["mamba, peak memory", "mambapy", "one layer, L 7"] == (pytest.approx(1.0), "MB")
    assert found["mamba, time", "mambapy", "over one layer, L 13"] == (pytest.approx(40 / 3), "x")


def test_a_step_is_timed_alone_and_the_longest_context_is_compared_with_the_shortest(monkeypatch):
    monkeypatch.setattr(
        "scripts.run.sequence_benchmarks.costs_in_a_fresh_process",
        lambda subject, settings: [Cost(7, 4e-6, 0), Cost(13, 6e-6, 0)],
    )
    stepping = Stepping(layer=Layer(implementation="cartridge", model="gru", d_model=8, batch_size=1), steps=2)
    values = {one.setting: (one.value, one.unit) for one in measure_steps([stepping], SETTINGS, 1)}
    assert values["gru, after 13"] == (pytest.approx(3.0), "us")
    assert values["gru, the longest context over the shortest"] == (pytest.approx(1.5), "x")
