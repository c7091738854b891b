"""Files that are written as a whole or not at all."""

from pathlib import Path

import pytest

from scripts.run.whole_file import write_json, write_text


def test_a_file_is_written_into_a_new_folder_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "figures.json"
    for value, text in [({"a": 1}, '{\n "a": 1\n}\n'), ([], "[]\n")]:
        assert write_json(path, value) == path
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_a_kill_in_the_middle_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_text(tmp_path / "table.md", "whole")

    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "another")
    assert path.read_text() == "whole"
