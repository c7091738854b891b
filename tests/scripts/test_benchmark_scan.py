"""The benchmark of scans, its parts with small numbers, and all of it run for real."""

import json
from pathlib import Path

import pytest
import torch

from scripts.benchmark_scan import BenchmarkScan, main, passes
from scripts.run.benchmark_records import BenchmarkRecord
from scripts.run.scan_workloads import S4DConvolution, plain_convolution, vandermonde_kernel
from scripts.run.sequence_workloads import Layer
from seqmodels.fft_convolution import fft_convolution
from seqmodels.s4d import S4D, s4d_lin


def test_what_is_compared_has_every_backend_that_is_there_and_says_which_is_not(monkeypatch, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")
    entries = passes(BenchmarkScan(d_model=16, s4d_states=(4,)), "cpu")
    ours = [(entry.benchmark, entry.name) for entry in entries if entry.implementation == "cartridge"]
    assert ours == [("mamba", "torch"), ("mamba2", "matmul"), ("s4d, N 4", "kernel and convolution")]
    assert "left out: the scan's backend 'cpp' is not available: no C++ compiler was found" in capsys.readouterr().out


@pytest.mark.parametrize(
    "subject",
    [
        Layer(implementation="cartridge", model="mamba", backend="torch", d_model=6, d_state=3, batch_size=2),
        Layer(implementation="cartridge", model="mamba2", d_model=6, d_state=3, batch_size=2),
        S4DConvolution(materialised=False, d_model=6, d_state=4, batch_size=2),
        S4DConvolution(materialised=True, d_model=6, d_state=4, batch_size=2),
    ],
    ids=lambda subject: type(subject).__name__,
)
def test_a_pass_can_be_repeated(subject):
    run = subject("cpu")(11)
    run()
    run()


def test_the_convolution_that_s4d_is_measured_against_gives_the_same_numbers():
    torch.manual_seed(0)
    layer = S4D(5, d_state=4, initialization=s4d_lin)
    x = torch.randn(2, 37, 5)
    kernel = vandermonde_kernel(layer, 37)
    torch.testing.assert_close(kernel, layer.kernel(37), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plain_convolution(x, kernel), fft_convolution(x, kernel), rtol=1e-4, atol=1e-5)


def test_sizes_below_1_are_refused():
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        BenchmarkScan(rounds=0)
    with pytest.raises(ValueError, match="lengths must be at least 1"):
        BenchmarkScan(lengths=())
    with pytest.raises(ValueError, match=r"lengths must be at least 1, .* got \(5, 0\)"):
        BenchmarkScan(contexts=(5, 0))
    with pytest.raises(ValueError, match="d_state must be a positive even number, got 7"):
        BenchmarkScan(s4d_states=(4, 7))


def test_the_figures_are_of_the_seed_asked_for_and_say_of_which_sizes(tmp_path, monkeypatch):
    seeds = []

    def measure(entries, settings, rounds):
        seeds.append(settings.seed)
        return [BenchmarkRecord(benchmark="mamba", implementation="cartridge", setting="L 7", value=1.0, unit="ms")]

    monkeypatch.setattr("scripts.benchmark_scan.measure_passes", measure)
    monkeypatch.setattr("scripts.benchmark_scan.measure_steps", measure)
    output = tmp_path / "scan.json"
    main(BenchmarkScan(seed=5, d_model=16, batch_size=3, s4d_states=(4,), device="cpu", threads=1, output=output))
    assert seeds == [5, 5]
    for record in json.loads(output.read_text()):
        assert record["conditions"].startswith("one layer, d_model 16, d_state 16, batch 3, on cpu (1 of ")


@pytest.mark.slow  # a process for each of a dozen figures
def test_the_benchmark_measures_time_memory_and_steps_and_writes_them(tmp_path: Path, capsys):
    output = tmp_path / "scan.json"
    main(
        BenchmarkScan(
            lengths=(13, 64),
            contexts=(5, 17),
            d_model=16,
            d_state=4,
            s4d_states=(4,),
            batch_size=2,
            rounds=1,
            repeats=1,
            device="cpu",
            threads=1,
            output=output,
        )
    )
    records = {
        (record["benchmark"], record["implementation"], record["setting"]): record
        for record in json.loads(output.read_text())
    }
    assert records["mamba, time", "cartridge", "torch, L 13"]["value"] > 0
    assert records["mamba2, time", "cartridge", "matmul, L 64"]["unit"] == "ms"
    assert records["s4d, N 4, peak memory", "vandermonde", "kernel and convolution, L 64"]["unit"] == "MB"
    assert records["step", "cartridge", "mamba, after 17"]["value"] > 0
    assert records["step", "cartridge", "s4, the longest context over the shortest"]["unit"] == "x"
    assert f"{output}" in capsys.readouterr().out
