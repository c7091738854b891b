"""The choice of device and threads."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scripts.run.devices import (
    available_cores,
    can_compile,
    check_device_count,
    choose_device,
    computes_in_bfloat16,
    device_description,
    set_num_threads,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture
def threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_cpu_is_the_cpu() -> None:
    assert choose_device("cpu") == torch.device("cpu")


def test_auto_takes_a_gpu_where_there_is_one() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_asking_for_a_gpu_that_is_not_there_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="device 'cuda' was asked for, but PyTorch .* sees no GPU here: use 'cpu' or"):
        choose_device("cuda")


def test_more_gpus_than_there_are_is_an_error_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_device_count(torch.device("cuda", 0), 2)
    check_device_count(torch.device("cpu"), 3)
    with pytest.raises(ValueError, match="3 GPUs were asked for, but PyTorch sees 2 here"):
        check_device_count(torch.device("cuda", 0), 3)


@pytest.mark.gpu
def test_a_gpu_is_named_in_words() -> None:
    assert device_description(choose_device("cuda")).startswith("cuda (")


@pytest.mark.usefixtures("threads_restored")
def test_the_number_of_threads_is_set_and_described() -> None:
    set_num_threads(1)
    assert torch.get_num_threads() == 1
    assert device_description(torch.device("cpu")) == f"cpu (1 of {available_cores()} cores)"
    set_num_threads(0)
    assert torch.get_num_threads() == available_cores()
    with pytest.raises(ValueError, match="num_threads must be at least 0, got -1"):
        set_num_threads(-1)


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "a-compiler-nobody-has")
    assert not can_compile(torch.device("cpu"))
    monkeypatch.setenv("CXX", "python3")
    assert can_compile(torch.device("cpu"))


def test_bfloat16_is_taken_where_the_processor_says_so() -> None:
    flags = Path("/proc/cpuinfo")
    if not flags.exists():
        pytest.skip("the processor's flags are listed on Linux only")
    named = {"avx512_bf16", "amx_tile"} & set(flags.read_text().split())
    assert computes_in_bfloat16(torch.device("cpu")) == bool(named)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can be told")
def test_freed_memory_is_kept_instead_of_faulted_in_again() -> None:
    # 40 MB: more than glibc ever keeps on its own.
    program = """
import resource, torch
from scripts.run.devices import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
for update in range(30):
    if update == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = []
    for keep in (True, False):
        command = [sys.executable, "-c", program.format(keep=keep)]
        faults.append(int(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout))
    assert faults[0] < faults[1] / 10
