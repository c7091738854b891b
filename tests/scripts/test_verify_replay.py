"""The replay against plain lists of episodes of real play: what `scripts.verify_replay` counts."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.verify_replay import VerifyReplay, main


def counts(config: VerifyReplay) -> dict[tuple[str, str], int]:
    """Runs the command; returns the wrong transitions of every implementation and setting."""
    assert config.output is not None
    main(config)
    records: list[dict[str, Any]] = json.loads(config.output.read_text())
    return {(record["implementation"], record["setting"]): record["value"] for record in records}


def test_no_transition_of_real_play_is_wrong_in_any_storage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # 1,200 steps go four times around rings of 43 slots, with a truncation every 31 steps at the latest.
    config = VerifyReplay(
        game="Breakout", steps=1_200, capacity=7 * 43, max_episode_steps=31, output=tmp_path / "counts.json"
    )
    wrong = counts(config)
    for storage in ("raw", "lz4", "device (cpu)"):
        for n_step in (1, 3):
            assert wrong["cartridge", f"Breakout, {storage}, n-step {n_step}"] == 0
    # The comparison can fail: this buffer takes the next episode's first observation for the last of the one before.
    assert wrong["stable_baselines3", "Breakout, ReplayBuffer, optimize_memory_usage"] > 0
    assert "| cartridge | raw, n-step 1 | 1,176 | 0 |" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("game", ["Breakout", "Pong"])
def test_no_transition_of_200_000_steps_of_real_play_is_wrong(tmp_path: Path, game: str) -> None:
    wrong = counts(VerifyReplay(game=game, output=tmp_path / "counts.json"))
    ours = [value for (implementation, _), value in wrong.items() if implementation == "cartridge"]
    assert ours == [0] * 6
