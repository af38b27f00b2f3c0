"""Enrolments: recordings of the speaker to keep."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kit.audio import write_speech

from audiotool.errors import InputError
from audiotool.files.enrolment import read_enrolment


class OwnPath(os.PathLike[str]):
    """A path of another package."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


def test_any_path_is_taken_and_named_in_messages(tmp_path: Path) -> None:
    assert read_enrolment(OwnPath(write_speech(tmp_path / "a.wav", 1)), 8000).shape == (1, 1, 8000)
    short = OwnPath(write_speech(tmp_path / "short.wav", 0.5))
    with pytest.raises(InputError, match=r"short\.wav lasts 0\.50 s"):
        read_enrolment(short, 8000)
