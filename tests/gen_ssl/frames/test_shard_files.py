"""Files mapped into memory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gen_ssl.frames.shard_files import ShardFiles


def test_more_files_than_stay_open_are_read_from_several_threads(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(11)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 7)
    files = ShardFiles(max_open=3)

    def read(seed: int) -> bool:
        chosen = np.random.default_rng(seed).integers(0, 11, 500).tolist()
        return all(files.map(paths[number], 7)[:] == bytes([number]) * 7 for number in chosen)

    with ThreadPoolExecutor(5) as threads:
        assert all(threads.map(read, range(5)))


def test_what_was_mapped_stays_readable_after_its_file_is_closed(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 5)
    files = ShardFiles(max_open=1)
    view = memoryview(files.map(tmp_path / "a", 5))
    files.map(tmp_path / "b", 5)
    assert bytes(view) == b"aaaaa"


def test_a_file_that_was_rewritten_in_the_meantime_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(RuntimeError, match="was rewritten while it was read: it had 7 bytes, now 5"):
        ShardFiles().map(tmp_path / "a", 7)
