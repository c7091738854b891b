"""Chooses the device and the number of CPU threads a command computes with."""

import ctypes
import importlib.util
import os
import shutil
import sys
from typing import Literal

import torch

DeviceName = Literal["auto", "cpu", "cuda"]


def choose_device(name: DeviceName = "auto") -> torch.device:
    """Returns the named device; `auto` is the current GPU where there is one, else the CPU.

    Raises ValueError for a GPU that is not there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"a device is 'auto', 'cpu' or 'cuda', got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device 'cuda' was asked for, but PyTorch {torch.__version__} sees no GPU here: use 'cpu' or 'auto'"
        )
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def check_device_count(device: torch.device, count: int) -> None:
    """Raises ValueError where fewer than `count` GPUs are there; processes on a CPU share it, however many."""
    if device.type == "cuda" and count > torch.cuda.device_count():
        raise ValueError(f"{count} GPUs were asked for, but PyTorch sees {torch.cuda.device_count()} here")


def device_description(device: torch.device) -> str:
    """Returns the device in words, for a log and for the figures that are published with it."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} of {available_cores()} cores)"


def available_cores() -> int:
    """Returns the number of CPU cores this process may run on, which in a container is fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_num_threads(num_threads: int) -> None:
    """Lets PyTorch compute one operation on `num_threads` threads; 0 takes every available core."""
    if num_threads < 0:
        raise ValueError(f"num_threads must be at least 0, got {num_threads}")
    torch.set_num_threads(num_threads or available_cores())


def keep_freed_memory() -> bool:
    """Lets this process keep the memory it frees, and returns whether the C library could be told to.

    glibc hands every large block back at once, so each update would fault its tens of megabytes in again, page by
    page. Blocks of 64 MiB and more (a raw replay) are still returned.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl has not
    if mallopt is None:
        return False
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    return bool(mallopt(mmap_threshold, 64 * 2**20) and mallopt(trim_threshold, 2**31 - 1))


def can_compile(device: torch.device) -> bool:
    """Returns whether `torch.compile` has what it needs for `device`: a C++ compiler, and Triton for a GPU."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    return shutil.which(compiler) is not None and (
        device.type == "cpu" or importlib.util.find_spec("triton") is not None
    )


def computes_in_bfloat16(device: torch.device) -> bool:
    """Returns whether `device` multiplies in bfloat16 itself, so that it is faster there than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # PyTorch has no public question for this; without the instructions it computes bfloat16 slowly in float32.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
