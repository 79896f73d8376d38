"""Claims about files: whole or as they were, and one way to write them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import infoflow
from infoflow._files import write_atomically


def test_text_and_bytes_are_written_whole(tmp_path: Path) -> None:
    for content, expected in (("ρ\n", "ρ\n".encode()), (b"\x00\xff", b"\x00\xff")):
        write_atomically(tmp_path / "x", content)
        assert (tmp_path / "x").read_bytes() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_failed_write_keeps_the_old_file_says_so_and_leaves_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    write_atomically(path, "old")

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match=r"could not write .*x.json \(No space left.*make room"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_no_other_file_of_the_package_writes_in_steps() -> None:
    package = Path(infoflow.__file__).parent
    found = [
        path.name
        for path in package.rglob("*.py")
        if re.search(r"os\.replace|os\.fsync|\.partial\b", path.read_text(encoding="utf-8"))
    ]
    assert found == ["_files.py"]
