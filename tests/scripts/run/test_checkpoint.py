"""Checkpoints: whole or not there, free of code, and refused in one sentence where they do not fit."""

import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scripts.run.checkpoint import FORMAT, VERSION, load_checkpoint, save_checkpoint

ROOT = Path(__file__).parents[3]


def run_python(program: str, *arguments: object, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, **kwargs)


def test_everything_comes_back_as_it_was(tmp_path: Path) -> None:
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(5, 3)).sum().backward()
    optimizer.step()
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generator": np.random.default_rng(3).bit_generator.state,  # integers of 128 bits
        "frames": torch.arange(7 * 5, dtype=torch.uint8).reshape(7, 5),
        "values": [None, True, -3, 0.1, float("inf"), "Pong", (1, 2), {"nested": {}}],
    }
    loaded = load_checkpoint(save_checkpoint(tmp_path / "new" / "checkpoint.pt", state))
    assert loaded["values"] == state["values"]
    assert loaded["generator"] == state["generator"]
    torch.testing.assert_close(loaded["frames"], state["frames"], rtol=0, atol=0)
    torch.testing.assert_close(dict(loaded["network"]), dict(network.state_dict()), rtol=0, atol=0)
    optimizer.load_state_dict(loaded["optimizer"])
    assert optimizer.state_dict()["state"][0]["step"] == 1


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ({"a": [np.float32(1)]}, r"numpy.float32 at state\['a'\]\[0\]"),
        ({"a": np.zeros(3)}, r"numpy.ndarray at state\['a'\]"),
        ({"a": {np.int64(3): 1}}, r"numpy.int64 at the key np.int64\(3\) of state\['a'\]"),
        ({"a": Path()}, r"pathlib.\w+ at state\['a'\]"),
    ],
)
def test_a_value_that_would_need_code_to_load_is_refused_by_its_place(
    tmp_path: Path, state: dict[str, Any], place: str
) -> None:
    with pytest.raises(TypeError, match=f"a checkpoint holds tensors and plain values only, got {place}"):
        save_checkpoint(tmp_path / "checkpoint.pt", state)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint at .*checkpoint.pt"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_a_checkpoint_cut_anywhere_is_called_truncated_or_damaged(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "checkpoint.pt", {"weights": torch.randn(50, 70), "step": 3})
    whole = path.read_bytes()
    for size in [0, 3, 100, len(whole) // 3, len(whole) // 2, len(whole) - 300, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="truncated|damaged|not a Cartridge checkpoint"):
            load_checkpoint(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"checkpoint.pt is truncated: it ends after \d+ bytes"):
        load_checkpoint(path)


def test_a_changed_byte_never_changes_a_number(tmp_path: Path) -> None:
    state = {"weights": torch.randn(20, 30), "step": 3}
    path = save_checkpoint(tmp_path / "checkpoint.pt", state)
    whole = path.read_bytes()
    generator = random.Random(0)
    refused = 0
    for _ in range(200):
        position = generator.randrange(len(whole))
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            loaded = load_checkpoint(path)
        except ValueError:
            refused += 1
        else:  # a byte of padding or of a date
            assert loaded["step"] == 3
            assert torch.equal(loaded["weights"], state["weights"])
    assert refused > 100


class CreatesFile:
    """Unpickles as a call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    header = {"format": FORMAT, "version": VERSION, "kind": "run", "state": CreatesFile(trap)}
    torch.save(header, tmp_path / "torch.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(header))
    for name in ("torch.pt", "pickle.pt"):
        with pytest.raises(ValueError, match=f"{name} is not a Cartridge checkpoint"):
            load_checkpoint(tmp_path / name)
    assert not trap.exists()


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    torch.save({"model": torch.zeros(3)}, tmp_path / "cleanrl.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    torch.save({"a": 1}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "text.pt").write_text("Pong\n")
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("data", "{}")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ValueError, match=f"{path.name} is not a Cartridge checkpoint"):
            load_checkpoint(path)


def test_a_newer_checkpoint_asks_for_an_update(tmp_path: Path) -> None:
    torch.save({"format": FORMAT, "version": VERSION + 1, "kind": "run", "state": {}}, tmp_path / "new.pt")
    with pytest.raises(ValueError, match="has checkpoint version 2, this Cartridge reads up to version 1: update"):
        load_checkpoint(tmp_path / "new.pt")


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "checkpoint.pt", {}, kind="encoder")
    with pytest.raises(ValueError, match="of kind 'encoder', expected 'run'"):
        load_checkpoint(path)


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "checkpoint.pt", {"step": 1})

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    # A limit on the size of files stops the writing in its middle as a full disk does.
    finished = run_python(
        """
        import sys, torch
        from scripts.run.checkpoint import save_checkpoint
        try:
            save_checkpoint(sys.argv[1], {"step": 2, "frames": torch.zeros(2_000_000)})
        except OSError as error:
            print(error.strerror)
        """,
        path,
        preexec_fn=limit_file_size,
    )
    assert finished.stdout == (
        f"the checkpoint {path} could not be saved: File too large; the last good one is kept at {path}\n"
    )
    assert load_checkpoint(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_really_full_disk_says_so(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "--mount", "--map-root-user", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    program = """
        import subprocess, sys, torch
        from scripts.run.checkpoint import load_checkpoint, save_checkpoint
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", sys.argv[1]], check=True)
        path = save_checkpoint(sys.argv[1] + "/checkpoint.pt", {"step": 1})
        try:
            save_checkpoint(path, {"step": 2, "frames": torch.zeros(2_000_000)})
        except OSError as error:
            print(error.strerror)
        assert load_checkpoint(path) == {"step": 1} and list(path.parent.iterdir()) == [path]
        """
    command = ["unshare", "--mount", "--map-root-user", sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert "could not be saved: No space left on device; the last good one is kept" in finished.stdout, finished.stderr


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    program = """
        import sys, torch
        from scripts.run.checkpoint import save_checkpoint
        step = 0
        while True:
            step += 1
            save_checkpoint(sys.argv[1], {"step": step, "frames": torch.full((3_000_000,), step)})
            print(step, flush=True)
        """
    left_something = 0
    for attempt in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        with process:
            last_said = int(process.stdout.readline())
            time.sleep(0.013 * (attempt + 1))
            process.send_signal(signal.SIGKILL)
            last_said = max([last_said, *map(int, process.stdout.read().split())])
        left_something += len(list(tmp_path.iterdir())) > 1
        loaded = load_checkpoint(path)
        assert loaded["step"] >= last_said
        assert torch.equal(loaded["frames"], torch.full((3_000_000,), loaded["step"]))
    assert left_something, "no kill fell into the writing of a checkpoint"
    save_checkpoint(path, {"step": 0})
    assert list(tmp_path.iterdir()) == [path], "the next save removes what a kill left"


def test_reading_does_not_disturb_a_run_that_is_saving(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "checkpoint.pt", {"step": 1})
    being_written = tmp_path / "checkpoint.pt.123.writing"
    being_written.touch()
    load_checkpoint(path)
    assert being_written.exists()


def test_saving_needs_no_second_copy_in_memory(tmp_path: Path) -> None:
    finished = run_python(
        """
        import resource, sys, torch
        from scripts.run.checkpoint import load_checkpoint, save_checkpoint
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        frames = torch.full((300_000_000,), 3, dtype=torch.uint8)
        before = peak()
        save_checkpoint(sys.argv[1], {"frames": frames})
        loaded = load_checkpoint(sys.argv[1])
        print(peak() - before)
        assert int(loaded["frames"][-1]) == 3
        """,
        tmp_path / "checkpoint.pt",
    )
    assert int(finished.stdout) < 50_000_000, finished.stderr


def test_a_loaded_run_does_not_hold_the_file(tmp_path: Path) -> None:
    if not Path("/proc/self/maps").exists():
        pytest.skip("memory maps are listed on Linux only")
    path = save_checkpoint(tmp_path / "checkpoint.pt", {"optimizer": {"exp_avg": torch.zeros(1000)}, "list": [1, (2,)]})
    loaded = load_checkpoint(path)
    assert str(path) not in Path("/proc/self/maps").read_text()
    assert loaded["list"] == [1, (2,)]
