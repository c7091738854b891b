"""Which backend a scan takes, and what is said where one is not there."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seqmodels.scans import ScanNeeds, backends, choose_backend, compiled_kernel, selective_scan
from seqmodels.scans.cpp_scan import absence

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ROOT = Path(__file__).parents[3]
needs_compiler = pytest.mark.skipif(absence() is not None, reason=f"no C++ kernel: {absence()}")


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")


@pytest.fixture
def upstream_installed(monkeypatch):
    """As on a machine where mamba-ssm can be imported; nothing is computed with it."""
    monkeypatch.setattr(backends.mamba_ssm_scan, "absence", lambda device: None)


@needs_compiler
def test_the_compiled_kernel_is_taken_on_a_cpu():
    choice = choose_backend("auto", CPU)
    assert choice.name == "cpp"
    assert choice.reason == "cpp: the fastest backend on cpu"


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_torch_is_taken_and_the_reason_says_why():
    choice = choose_backend("auto", CPU)
    assert choice.name == "torch"
    assert choice.reason == "torch: cpp is not taken: no C++ compiler was found: CXX is 'no-such-compiler'"


@pytest.mark.usefixtures("no_compiler")
def test_a_backend_that_is_not_there_is_refused_with_the_reason_and_the_way_to_get_it():
    with pytest.raises(ValueError, match="'cpp' is not available: no C.. compiler was found.*install g.. or clang"):
        choose_backend("cpp", CPU)
    with pytest.raises(ValueError, match="'mamba_ssm' is not available: .* are for CUDA, not for cpu; pip install"):
        selective_scan(
            *(torch.zeros(1, 2, 3),) * 2, torch.zeros(3, 5), *(torch.zeros(1, 2, 5),) * 2, backend="mamba_ssm"
        )
    with pytest.raises(ValueError, match="'triton' is not available: .*; pip install -e"):
        choose_backend("triton", CPU)


@pytest.mark.usefixtures("unchecked_signatures")
def test_a_backend_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="backend must be one of auto, torch, cpp, triton, mamba_ssm, got 'cuda'"):
        choose_backend("cuda", CPU)


def test_a_kernel_for_the_cpu_is_refused_on_a_gpu():
    with pytest.raises(ValueError, match="'cpp' is not available: its kernel is for the CPU, not for cuda"):
        choose_backend("cpp", CUDA)


@pytest.mark.skipif(importlib.util.find_spec("selective_scan_cuda") is not None, reason="mamba-ssm is installed")
def test_what_is_not_installed_is_named():
    with pytest.raises(ValueError, match="'mamba_ssm' is not available: mamba-ssm is not installed; pip install"):
        choose_backend("mamba_ssm", CUDA)


@pytest.mark.usefixtures("upstream_installed")
def test_upstreams_kernel_gives_way_where_it_cannot_do_what_is_needed():
    assert choose_backend("auto", CUDA).name == "mamba_ssm"
    assert choose_backend("mamba_ssm", CUDA).reason == "mamba_ssm: as asked for"
    for needs, why in (
        (ScanNeeds(resets=True), "upstream's kernel knows no resets"),
        (ScanNeeds(initial_state=True), "upstream's kernel starts from a state of zeros only"),
        (ScanNeeds(dtype=torch.float64), "upstream's kernel computes in float32, not in torch.float64"),
    ):
        asked = choose_backend("mamba_ssm", CUDA, needs)
        assert asked.name in ("triton", "torch")
        assert f"mamba_ssm was asked for, but {why}" in asked.reason
        assert f"mamba_ssm is not taken: {why}" in choose_backend("auto", CUDA, needs).reason


def test_a_compiler_that_fails_is_quoted(tmp_path, monkeypatch):
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho 'fatal error: out of tea' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    choice = choose_backend("auto", CPU)
    assert choice.name == "torch"
    assert f"{compiler} refused the kernel: fatal error: out of tea" in choice.reason
    assert not list((tmp_path / "cache").rglob("*.so"))


@needs_compiler
def test_a_cache_that_cannot_be_written_is_a_reason_not_a_crash(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    kernel = compiled_kernel.load_kernel()
    assert kernel.library is None
    assert "could not be built or loaded" in kernel.reason


@needs_compiler
def test_processes_that_build_at_once_all_end_with_a_whole_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # Without PyTorch, which the build does not need: processes start quickly.
    code = (
        f"import importlib.util, sys; s = importlib.util.spec_from_file_location('k', {compiled_kernel.__file__!r});"
        "k = importlib.util.module_from_spec(s); s.loader.exec_module(k);"
        "kernel = k.load_kernel(); assert kernel.library is not None, kernel.reason;"
        "print(kernel.library.lanes_float32())"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=900) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert answers[0] == answers[1]
    assert answers[0] in [("4\n", ""), ("8\n", ""), ("16\n", "")]  # by the processor; and nothing else is printed
    assert [path.suffix for path in (tmp_path / "cartridge").iterdir()] == [".so"]


def test_importing_the_scans_builds_and_imports_no_kernel(tmp_path):
    code = (
        "import sys, seqmodels.scans;"
        "loaded = {'seqmodels.scans.triton_kernels', 'selective_scan_cuda', 'mamba_ssm'} & set(sys.modules);"
        "assert not loaded, loaded"
    )
    environment = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=900)
    assert answer.returncode == 0, answer.stderr
    assert not list(tmp_path.iterdir())
