"""Records of benchmarks: their medians, their table, their file."""

import json
from pathlib import Path

import torch

from scripts.run.benchmark_records import BenchmarkRecord, records_table, summarise, write_records
from scripts.run.run_directory import command_line


def test_record_is_the_median_of_its_repeats_and_their_interquartile_range() -> None:
    record = summarise(
        [1.0, 2.0, 3.0, 4.0, 99.0], benchmark="stepping", implementation="cartridge", setting="64 envs", unit="steps/s"
    )
    assert (record.value, record.spread, record.repeats) == (3.0, 2.0, 5)


def test_table_shows_a_spread_only_where_there_were_repeats() -> None:
    once = BenchmarkRecord(benchmark="memory", implementation="cartridge", setting="raw", value=7.0561, unit="GB")
    often = summarise([1200.4, 1300.4], benchmark="speed", implementation="peer", setting="x", unit="steps/s")
    assert records_table([once, often]).splitlines()[2:] == [
        "| memory | cartridge | raw | 7.06 |  | GB |",
        "| speed | peer | x | 1,250 | 50 | steps/s |",
    ]


def test_file_holds_the_documented_fields(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "records.json"
    write_records(
        path,
        [BenchmarkRecord(benchmark="memory", implementation="cartridge", setting="raw", value=7.0, unit="GB")],
        conditions="on a toaster",
    )
    assert json.loads(path.read_text()) == [
        {
            "benchmark": "memory",
            "implementation": "cartridge",
            "setting": "raw",
            "value": 7.0,
            "unit": "GB",
            "repeats": 1,
            "spread": 0.0,
            "conditions": f"on a toaster, threads {torch.get_num_threads()}, torch {torch.__version__}",
            "command": command_line(),
        }
    ]
