"""Nothing half-written: a file is the old one or the new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiotool.atomic import obstacle, replacing, write_text
from audiotool.errors import InputError


def test_a_file_appears_complete_in_folders_that_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["b.txt"]
    assert path.read_text() == "old"


def test_text_keeps_its_line_ends_and_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    write_text(tmp_path / "a.csv", "ä,b\r\n")
    assert (tmp_path / "a.csv").read_bytes() == "ä,b\r\n".encode()
    with pytest.raises(InputError, match="cannot write"):
        write_text(tmp_path / "a.csv" / "b.csv", "")


def test_the_longest_name_a_file_may_have(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 125 + ".wav")
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert obstacle(path) is None
    assert "name" in str(obstacle(tmp_path / ("a" * 252 + ".wav")))


def test_a_file_put_in_its_place_by_a_writer_keeps_to_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as temporary:
        temporary.unlink()
        temporary.touch(mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o644
