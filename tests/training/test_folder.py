"""A run's folder."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest
import torch
from kit.disk import largest_file

from audiotool.errors import CheckpointError, RecipeError
from audiotool.training.folder import RunFolder


def test_what_ends_before_there_is_a_run_leaves_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "tiny", "tiny")
    with pytest.raises(RecipeError, match="refused: 0"), folder.held():
        raise RecipeError(f"refused: {folder.lock.stat().st_size}")
    assert not folder.path.exists()
    folder.path.mkdir()
    folder.latest.touch()
    with pytest.raises(RecipeError, match="exists: choose another"), folder.held():
        folder.check_new()
    assert list(folder.path.iterdir()) == [folder.latest]
    folder.recipe.touch()
    with pytest.raises(RecipeError, match="refused"), folder.held():
        raise RecipeError("refused")
    assert folder.lock.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no locks")
def test_a_file_system_that_may_refuse_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("fcntl.lockf", refused)
    message = "trained by another process, or its file system refuses locks: wait"
    with pytest.raises(RecipeError, match=message), RunFolder(tmp_path, "tiny").held():
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="no locks")
def test_a_lock_that_was_removed_before_it_was_locked_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.lockf", lambda *arguments: (tmp_path / ".lock").unlink())
    with (
        pytest.raises(RecipeError, match="trained by another process: wait"),
        RunFolder(tmp_path, "tiny").held(),
    ):
        pass


@pytest.mark.parametrize("size", [0, 1000, 50_000, 400_000])
def test_a_state_that_does_not_fit_the_disk_leaves_the_earlier_ones(tmp_path: Path, size: int) -> None:
    folder = RunFolder(tmp_path, "tiny")
    folder.save_state({"step": 1}, keep=1)
    state = {"step": 2, "model": {"weight": torch.zeros(100_000), "bias": torch.zeros(10)}}
    with (
        largest_file(size),
        pytest.raises(CheckpointError, match="`ulimit -f` allows; earlier"),
    ):
        folder.save_state(state, keep=1)
    assert [p.name for p in folder.states.iterdir()] == ["step-0000000001.pt"]
    assert folder.load_state() == {"format": 1, "step": 1}
    folder.save_state(state, keep=1)
    assert [p.name for p in folder.states.iterdir()] == ["step-0000000002.pt"]
