import json

import pytest

from scripts import benchmark_dqn
from scripts.benchmark_dqn import BenchmarkDQN


@pytest.mark.usefixtures("unchecked_signatures")
def test_the_table_has_our_speed_and_the_peers_and_their_ratio(tmp_path, capsys, monkeypatch):
    # Compilation takes longer than this whole test should.
    monkeypatch.setattr("scripts.run.dqn_assembly.can_compile", lambda device: False)
    output = tmp_path / "speed.json"
    benchmark_dqn.main(
        BenchmarkDQN(
            rounds=2, steps_per_round=32, learning_starts=64, num_envs=3, batch_size=16, device="cpu", output=output
        )
    )
    records = json.loads(output.read_text())
    assert [record["implementation"] for record in records] == ["cartridge"] * 4 + ["stable-baselines3"] * 2 + [
        "cartridge"
    ] * 4
    assert all(record["value"] > 0 for record in records)
    assert all(record["conditions"].startswith("training on Pong, cpu (") for record in records)
    assert records[6]["value"] == pytest.approx(records[0]["value"] / records[4]["value"])
    assert "| training | stable-baselines3 | batch 32 every 4 steps, 1 game |" in capsys.readouterr().out


def test_a_batch_that_is_no_multiple_of_the_samples_per_step_is_refused():
    with pytest.raises(ValueError, match="batch_size must be a multiple of 8, got 100"):
        BenchmarkDQN(batch_size=100)
