"""The benchmark of sequence models, run for real with small numbers."""

import json

import pytest
import torch

from scripts.benchmark_sequence_models import BenchmarkSequenceModels, main, passes, steppings
from scripts.run.benchmark_records import BenchmarkRecord
from scripts.run.sequence_costs import CostSettings, costs_in_a_fresh_process, rising
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


class Drawing:
    """Ends with what the generator draws first."""

    def __call__(self, device):
        raise ValueError(f"drew {torch.randint(1_000_000, ()).item()}")


def test_weights_and_inputs_are_drawn_with_the_seed():
    expected = torch.randint(1_000_000, (), generator=torch.Generator().manual_seed(5)).item()
    with pytest.raises(ValueError, match=f"drew {expected}$"):
        costs_in_a_fresh_process(Drawing(), CostSettings((7,), seed=5))


def test_the_figures_are_of_the_seed_asked_for_and_say_of_which_sizes(tmp_path, monkeypatch):
    seeds = []

    def measure(entries, settings, rounds):
        seeds.append(settings.seed)
        return [BenchmarkRecord(benchmark="gru", implementation="cartridge", setting="L 7", value=1.0, unit="ms")]

    monkeypatch.setattr("scripts.benchmark_sequence_models.measure_passes", measure)
    monkeypatch.setattr("scripts.benchmark_sequence_models.measure_steps", measure)
    output = tmp_path / "speed.json"
    main(BenchmarkSequenceModels(models=("gru",), seed=5, d_model=7, device="cpu", threads=1, output=output))
    assert seeds == [5, 5]
    for record in json.loads(output.read_text()):
        assert record["conditions"].startswith("one layer, d_model 7, d_state each mixer's own, batch 8, on cpu (1 of ")


def test_contexts_below_1_are_refused():
    with pytest.raises(ValueError, match=r"lengths must be at least 1, .* got \(0,\)"):
        BenchmarkSequenceModels(contexts=(0,))


def test_lengths_are_measured_once_each_in_rising_order():
    assert rising((13, 7, 13)) == (7, 13)
    with pytest.raises(ValueError, match=r"lengths must be at least 1, and one at least is needed, got \(\)"):
        rising(())


class Counting(torch.nn.Module):
    """A mixer whose state is the number of positions so far; it notes at which ones it is asked for a step."""

    def __init__(self):
        super().__init__()
        self.stepped_at = []

    def initial_state(self, batch_size):
        return (torch.zeros(batch_size),)

    def forward(self, x, *, state):
        return x, (state[0] + x.shape[1],)

    def step(self, x, state):
        self.stepped_at.append(int(state[0][0]))
        return x, (state[0] + 1,)


def test_steps_after_a_context_carry_the_state_of_the_context(monkeypatch):
    mixer = Counting()
    monkeypatch.setattr(Layer, "build", lambda self: mixer)
    monkeypatch.setattr("scripts.run.sequence_workloads.PREFILL_CHUNK", 4)
    workload = Stepping(layer=Layer(implementation="cartridge", model="gru", d_model=8, batch_size=2), steps=3)("cpu")
    for context in (5, 11, 5):
        run = workload(context)
        run()
        run()  # from the same state again
    assert mixer.stepped_at == [*[5, 6, 7] * 2, *[11, 12, 13] * 2, *[5, 6, 7] * 2]


@pytest.mark.parametrize("model", ["gru", "attention-rotary"])
def test_a_mixer_steps_after_a_context(model):
    workload = Stepping(layer=Layer(implementation="cartridge", model=model, d_model=8, batch_size=2), steps=3)("cpu")
    workload(5)()


def test_a_layer_is_built_with_the_states_and_the_backend_asked_for():
    mamba = Layer(
        implementation="cartridge", model="mamba", d_model=8, batch_size=2, d_state=3, backend="torch"
    ).build()
    assert (mamba.d_state, mamba.backend) == (3, "torch")
    assert Layer(implementation="cartridge", model="gru", d_model=8, batch_size=2, d_state=3).build().d_model == 8


def test_learned_positions_reach_as_far_as_the_longest_pass_and_the_last_step_after_the_longest_context():
    config = BenchmarkSequenceModels(
        models=("attention-learned",), lengths=(1_100, 7), contexts=(1_050, 3), d_model=8, batch_size=1
    )
    (entry,) = passes(config, "cpu")
    entry.subject("cpu")(1_100)()
    (stepping,) = steppings(config)
    stepping("cpu")(1_050)()


@pytest.mark.parametrize(
    ("package", "model"),
    # transformers takes seconds to import
    [pytest.param(*peer, marks=pytest.mark.slow if peer[0] == "transformers" else ()) for peer in PEERS],
)
def test_every_peer_that_is_installed_does_a_pass(package, model):
    if package not in installed_peers(model, "cpu"):
        pytest.skip(f"{package} is not installed, or does not run on a CPU")
    layer = Layer(implementation=package, model=model, d_model=8, batch_size=2)
    outputs = layer.build()(torch.zeros(2, 16, 8))
    assert (outputs[0] if isinstance(outputs, tuple) else outputs).shape == (2, 16, 8)
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
            assert records["gru, time", implementation, f"one layer, L {length}"]["unit"] == "ms"
            assert records["gru, peak memory", implementation, f"one layer, L {length}"]["value"] >= 0
    assert records["step", "cartridge", "gru, after 11"]["value"] > 0
    assert records["gru, time", "torch", "over one layer, L 13"]["unit"] == "x"
    assert capsys.readouterr().out.strip().endswith(str(output))
