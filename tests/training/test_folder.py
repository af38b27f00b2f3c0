"""A run's folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kit.disk import largest_file

from audiotool.errors import CheckpointError
from audiotool.training.folder import RunFolder


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
