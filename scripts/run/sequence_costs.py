"""Measures time and memory of sequence models against length, each in a process of its own."""

import ctypes
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch

from .devices import keep_freed_memory, set_num_threads

SECONDS_AT_LEAST = 0.5  # of timing at every length

# Returns, for a length, what is to be measured: one forward and backward pass, or one step after so many.
Workload = Callable[[int], Callable[[], object]]


class Cost(NamedTuple):
    """What one pass costs at a length."""

    length: int
    seconds: float  # the median of the repeats
    peak_bytes: int  # memory at the worst moment of a pass, above what the process held before it


class CostSettings(NamedTuple):
    """How to measure."""

    lengths: tuple[int, ...]  # in rising order
    repeats: int = 5  # at least
    seconds_limit: float = 10.0  # longer lengths are left out once a pass has taken so long
    threads: int = 0
    device: str = "cpu"
    seed: int = 0  # of weights and inputs


def costs_in_a_fresh_process(build: Callable[[str], Workload], settings: CostSettings) -> list[Cost]:
    """Returns the costs at every length, measured where nothing else has taken memory before.

    `build` makes the workload on a device, there; it must be picklable: a function of a module, or a partial of one.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        return process.submit(measure_costs, build, settings).result()


def measure_costs(build: Callable[[str], Workload], settings: CostSettings) -> list[Cost]:
    """Returns the costs at every length, until one takes longer than the limit."""
    set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    # Freed blocks go back at once, so that resident memory is what is in use.
    _call_allocator("mallopt", -3, 64 * 2**10)  # M_MMAP_THRESHOLD of malloc.h
    workload = build(settings.device)
    device = torch.device(settings.device)
    workload(settings.lengths[0])()  # what is compiled or cached at first is not the cost of a pass
    peaks = _peak_memory(workload, settings, device)
    keep_freed_memory()  # timed as training runs
    return [
        Cost(length, _seconds(workload(length), settings, device), peak)
        for length, peak in zip(settings.lengths, peaks, strict=False)
    ]


def _peak_memory(workload: Workload, settings: CostSettings, device: torch.device) -> list[int]:
    """Returns the peaks of all lengths up to the first that takes longer than the limit, itself included."""
    peaks: list[int] = []
    for length in settings.lengths:
        started = time.perf_counter()
        run = workload(length)
        if peaks and time.perf_counter() - started > settings.seconds_limit:
            break  # a context that takes so long to reach is not stepped after
        before = _reset_peak(device)
        run()
        peaks.append(max(_peak(device) - before, 0))
        if time.perf_counter() - started > settings.seconds_limit:
            break
    return peaks


def _seconds(run: Callable[[], object], settings: CostSettings, device: torch.device) -> float:
    timings: list[float] = []
    # Short passes are repeated until a jolt of the machine is lost among them; a long one is measured once.
    while (len(timings) < settings.repeats or sum(timings) < SECONDS_AT_LEAST) and (
        not timings or sum(timings) < settings.seconds_limit
    ):
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        timings.append(time.perf_counter() - started)
    return statistics.median(timings)


def _call_allocator(function: str, *arguments: int) -> None:
    """Calls a function of glibc's allocator where there is one."""
    if sys.platform.startswith("linux"):
        found = getattr(ctypes.CDLL(None), function, None)  # musl has none of them
        if found is not None:
            found(*arguments)


def _reset_peak(device: torch.device) -> int:
    """Forgets the peak so far and returns the bytes in use now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    if not Path("/proc/self/clear_refs").exists():
        raise OSError("memory on a CPU is measured on Linux only: it is read from /proc/self")
    _call_allocator("malloc_trim", 0)  # what is free counts as free, and not as room that the pass finds
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak of the resident set
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak(device: torch.device) -> int:
    """Returns the bytes in use at the worst moment since the peak was forgotten."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def rising(lengths: Sequence[int]) -> tuple[int, ...]:
    """Returns the lengths once each, in rising order; raises ValueError for one below 1."""
    if not lengths or min(lengths) < 1:
        raise ValueError(f"lengths must be at least 1, and one at least is needed, got {tuple(lengths)}")
    return tuple(sorted(set(lengths)))
