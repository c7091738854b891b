import json
from dataclasses import replace

import pytest

from envs import AtariConfig, make_atari, make_atari_vector
from scripts.verify_envs import TEN_GAMES, VerifyEnvs, compare, main

# 63 steps and a half: episodes end inside a step.
SHORT = AtariConfig(game="Breakout", sticky_action_probability=0.0, max_noop_steps=0, max_frames_per_episode=254)


def compared(rules, twin_rules, steps=200, **arguments):
    vector = make_atari_vector(rules, num_envs=2, num_threads=1, seed=1, **arguments)
    return compare(vector, [make_atari(twin_rules, stack=1) for _ in range(2)], steps=steps, seed=1)


@pytest.mark.parametrize(
    ("rules", "steps"),
    [
        (SHORT, 130),
        (replace(SHORT, max_frames_per_episode=108_000), 350),
        (replace(SHORT, game="BankHeist", sticky_action_probability=0.25, full_action_space=True), 130),
        (replace(SHORT, game="SpaceInvaders", sticky_action_probability=0.25, fire_at_reset=True, frame_size=64), 130),
        (replace(SHORT, game="Pong", frame_skip=3, fire_at_reset=True), 130),
        (replace(SHORT, frame_skip=1), 260),
        (replace(SHORT, game="Backgammon"), 130),  # has no action NOOP
    ],
    ids=str,
)
def test_single_and_vector_environments_agree_in_every_bit(rules, steps):
    result = compared(rules, rules, steps=steps)
    assert result.steps == 2 * steps
    assert result.terminated + result.truncated >= 2
    assert result.differences == 0


def test_they_agree_after_the_vector_was_seeded_again():
    rules = replace(SHORT, sticky_action_probability=0.25)
    assert compared(rules, rules, reseed_every_steps=70).differences == 0


@pytest.mark.parametrize(
    "change",
    [
        {"sticky_action_probability": 0.25},
        {"max_frames_per_episode": 257},
        {"frame_skip": 3},
        {"game": "Assault"},
        {"max_noop_steps": 30},
    ],
    ids=str,
)
def test_different_rules_are_noticed(change):
    assert compared(SHORT, replace(SHORT, **change), steps=90).differences > 0


def test_the_command_prints_a_table_and_writes_records(tmp_path, capsys):
    output = tmp_path / "counts.json"
    main(VerifyEnvs(games=("Pong",), steps=40, num_envs=2, output=output))
    assert "| Pong | 40 | 0 | 0 | 0 | 0 |" in capsys.readouterr().out
    (record,) = json.loads(output.read_text())
    assert record["value"] == 0
    assert record["unit"] == "different of 40 steps"


@pytest.mark.slow
@pytest.mark.parametrize("sticky", [0.0, 0.25])
def test_ten_games_agree_over_thousands_of_steps(sticky, tmp_path):
    output = tmp_path / "counts.json"
    main(VerifyEnvs(sticky_action_probability=sticky, output=output))
    records = json.loads(output.read_text())
    assert len(records) == len(TEN_GAMES) == 10
    assert all(record["value"] == 0 for record in records)
