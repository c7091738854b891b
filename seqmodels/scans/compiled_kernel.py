"""Builds the C++ kernel when it is first asked for, and keeps it in the user's cache."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("selective_scan.cpp")
# No -ffast-math: the exponential's rounding rests on the order of additions.
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"),
    *("-shared", "-fPIC", "-pthread"),
)
BUILD_SECONDS = 600.0  # a build takes 2 seconds on an idle machine

_lock = threading.Lock()


class Kernel(NamedTuple):
    """The loaded library, or None with the reason why there is none."""

    library: ctypes.CDLL | None
    reason: str


def load_kernel() -> Kernel:
    """Returns the kernel, built now unless this source was built on this machine before; never raises."""
    with _lock:  # two threads of a process would build it twice
        # Asked at every call of a scan: the search runs again only where its answer can be another.
        variables = ("CXX", "PATH", "XDG_CACHE_HOME", "HOME")
        return _load_kernel_once(tuple(os.environ.get(name) for name in variables))


@functools.cache
def _load_kernel_once(_environment: tuple[str | None, ...]) -> Kernel:
    compiler_path, folder = compiler(), cache_folder()
    if compiler_path is None:
        tried = f"CXX is {os.environ['CXX']!r}" if os.environ.get("CXX") else "there is no g++, clang++ or c++"
        return Kernel(None, f"no C++ compiler was found: {tried}")
    try:
        path = folder / f"selective_scan-{_fingerprint(compiler_path)}.so"
        if not path.exists():
            _build(compiler_path, path)
        return Kernel(ctypes.CDLL(str(path)), f"built by {compiler_path} in {folder}")
    except subprocess.CalledProcessError as error:
        return Kernel(None, f"{compiler_path} refused the kernel: {_first_error(error.stderr)}")
    except subprocess.TimeoutExpired:
        return Kernel(None, f"{compiler_path} did not finish the kernel within {BUILD_SECONDS:.0f} seconds")
    except OSError as error:
        return Kernel(None, f"the kernel could not be built or loaded in {folder}: {error}; set XDG_CACHE_HOME")


def compiler() -> str | None:
    """Returns the path of the C++ compiler: CXX where it is set, else g++, clang++ or c++; None without one."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    return next((path for name in names if (path := shutil.which(name))), None)


def cache_folder() -> Path:
    """Returns where kernels are kept: `cartridge` in XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "cartridge"


def _fingerprint(compiler_path: str) -> str:
    """Returns a name that differs where the built file would: source, flags, compiler and processor."""
    # A home folder may be shared by machines: code for this processor's instructions would crash on another one.
    asked = [compiler_path, "--version"]
    version = subprocess.run(asked, capture_output=True, check=True, text=True, timeout=BUILD_SECONDS).stdout
    parts = (SOURCE.read_text(encoding="utf-8"), *FLAGS, version, _processor())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    """Returns what this processor is and can do."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    abilities = [line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))]
    return "\n".join([sys.platform, platform.machine(), platform.processor(), *sorted(set(abilities))])


def _build(compiler_path: str, path: Path) -> None:
    """Compiles beside `path` and renames into place: other processes find a whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        command = [compiler_path, *FLAGS, str(SOURCE), "-o", str(unfinished)]
        subprocess.run(command, capture_output=True, check=True, text=True, timeout=BUILD_SECONDS)
        os.replace(unfinished, path)


def _first_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines()]
    return next((line for line in lines if "error" in line.lower()), lines[0] if lines else "without a word")
