"""The benchmark of sequence models, run for real with small numbers."""

import json

import pytest
import torch

from scripts.benchmark_sequence_models import BenchmarkSequenceModels, by_length, main, ratios
from scripts.run.benchmark_records import BenchmarkRecord
from scripts.run.sequence_costs import Cost, CostSettings, costs_in_a_fresh_process, rising
from scripts.run.sequence_workloads import PEERS, Layer, Stepping, installed_peers


class Allocation:
    """Holds 8 bytes for every number of the length while it runs."""

    def __call__(self, device):
        return lambda length: lambda: float(torch.ones(length, dtype=torch.float64, device=device).sum())


def test_a_fresh_process_measures_time_and_the_memory_of_one_pass():
    lengths = (1_000_000, 5_000_000)
    costs = costs_in_a_fresh_process(Allocation(), CostSettings(lengths, repeats=2, threads=1))
    assert [cost.length for cost in costs] == list(lengths)
    for cost in costs:
        assert cost.seconds > 0
        assert 8 * cost.length <= cost.peak_bytes + 2**20 <= 8 * cost.length + 2**22


def record(implementation, value, setting="mamba, L 256"):
    return BenchmarkRecord(
        benchmark="peak memory", implementation=implementation, setting=setting, value=value, unit="MB"
    )


def test_ratios_are_the_peers_figures_over_ours():
    records = [record("cartridge", 2.0), record("mambapy", 9.0), record("transformers", 9.0, "mamba2, L 256")]
    (ratio,) = ratios(records)
    assert (ratio.implementation, ratio.value, ratio.unit) == ("mambapy", 4.5, "x")
    assert ratio.benchmark == "peak memory, over ours"


def test_costs_of_all_rounds_come_together_by_length():
    rounds = [[Cost(7, 1.0, 2), Cost(13, 3.0, 4)], [Cost(7, 5.0, 6)]]  # the second gave up after the first length
    assert by_length(rounds) == {7: [Cost(7, 1.0, 2), Cost(7, 5.0, 6)], 13: [Cost(13, 3.0, 4)]}


def test_lengths_are_measured_once_each_in_rising_order():
    assert rising((13, 7, 13)) == (7, 13)
    with pytest.raises(ValueError, match=r"lengths must be at least 1, and one at least is needed, got \(\)"):
        rising(())


@pytest.mark.parametrize("model", ["gru", "attention-rotary"])
def test_steps_after_a_context_carry_the_state_of_the_context(model):
    layer = Layer(implementation="cartridge", model=model, d_model=8, batch_size=2)
    workload = Stepping(layer=layer, steps=3)("cpu")
    for context in (5, 11, 5):
        workload(context)()


def test_every_peer_that_is_installed_does_a_pass():
    for package, model in PEERS:
        if package in ("torch", "mambapy"):  # transformers takes seconds to import
            if package not in installed_peers(model, "cpu"):
                continue
            layer = Layer(implementation=package, model=model, d_model=8, batch_size=2)
            layer("cpu")(16)()


def test_unknown_models_are_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="unknown mixer 'manba': did you mean mamba"):
        BenchmarkSequenceModels(models=("manba",))


@pytest.mark.slow
def test_the_benchmark_measures_ours_and_peers_and_writes_both(tmp_path, capsys):
    output = tmp_path / "speed.json"
    main(
        BenchmarkSequenceModels(
            models=("gru",), lengths=(7, 13), contexts=(3, 11), d_model=5, rounds=1, threads=1, output=output
        )
    )
    records = {(one["benchmark"], one["implementation"], one["setting"]): one for one in json.loads(output.read_text())}
    for implementation in ("cartridge", "torch"):
        for length in (7, 13):
            assert records["forward and backward", implementation, f"gru, L {length}"]["unit"] == "ms"
            assert records["peak memory", implementation, f"gru, L {length}"]["value"] >= 0
    assert records["step", "cartridge", "gru, after 11"]["value"] > 0
    assert records["forward and backward, over ours", "torch", "gru, L 13"]["unit"] == "x"
    assert capsys.readouterr().out.strip().endswith(str(output))
