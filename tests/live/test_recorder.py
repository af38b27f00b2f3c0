"""Recordings of a live stream: two files of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.devices import RATE

from audiotool.errors import PlanError
from audiotool.live.recorder import Recorder, check_places


@pytest.mark.parametrize("second", ["a.wav", "in/../a.wav", "link/a.wav", "alias.wav", "in/../link/a.wav"])
def test_two_spellings_of_one_file_are_refused(tmp_path: Path, second: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "alias.wav").symlink_to("a.wav")
    with pytest.raises(PlanError, match="--record needs two files, and these are one: ") as refused:
        check_places(tmp_path / "a.wav", tmp_path / second)
    assert refused.value.exit_code == 2
    check_places(tmp_path / "a.wav", tmp_path / "in" / "a.wav")


@pytest.mark.parametrize(("source", "target"), [("-", "out.wav"), ("in.wav", "-"), ("-", "-")])
def test_standard_output_is_no_recording(source: str, target: str) -> None:
    with pytest.raises(PlanError, match="--record needs two files, and '-' is standard output"):
        Recorder(Path(source), Path(target), RATE)
