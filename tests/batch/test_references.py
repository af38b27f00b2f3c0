"""References of inputs: found by place, never guessed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kit.audio import write_speech

from audiotool.batch.plan import Layout, make_plan
from audiotool.errors import PlanError


def test_references_are_found_by_place(folder: Path, tmp_path: Path) -> None:
    for name in ("a.wav", "sub/b.wav", "sub/deep/c.wav"):
        write_speech(tmp_path / "clean" / name, 0.2)
    layout = Layout(output=str(tmp_path / "out"), reference=str(tmp_path / "clean"))
    found = [job.references[0].name for job in make_plan([str(folder)], layout).jobs]
    assert found == ["a.wav", "b.wav", "c.wav"]
    (tmp_path / "clean" / "sub" / "b.wav").unlink()
    jobs = make_plan([str(folder)], layout).jobs
    assert [len(job.references) for job in jobs] == [1, 0, 1]
    assert "b.flac has no reference" in jobs[1].unscored
    with pytest.raises(PlanError, match=r"b\.flac has no reference"):
        make_plan([str(folder / "sub")], layout)


def test_of_two_references_of_one_name_none_is_guessed(folder: Path, tmp_path: Path) -> None:
    """That with the input's own ending counts."""
    for name in ("a.aiff", "a.flac", "a.wav"):
        write_speech(tmp_path / "clean" / name, 0.2)
    layout = Layout(output=str(tmp_path / "out.wav"), reference=str(tmp_path / "clean"))
    [job] = make_plan([str(folder / "a.wav")], layout).jobs
    assert job.references == (tmp_path / "clean" / "a.wav",)
    (tmp_path / "clean" / "a.wav").unlink()
    with pytest.raises(PlanError, match=r"a\.aiff and .*a\.flac have one name: which of them counts"):
        make_plan([str(folder / "a.wav")], layout)


def test_a_pipe_among_references_is_none(folder: Path, tmp_path: Path) -> None:
    """Nobody may ever write into it."""
    (tmp_path / "clean").mkdir()
    os.mkfifo(tmp_path / "clean" / "a.flac")
    layout = Layout(output=str(tmp_path / "out.wav"), reference=str(tmp_path / "clean"))
    with pytest.raises(PlanError, match="has no reference"):
        make_plan([str(folder / "a.wav")], layout)
