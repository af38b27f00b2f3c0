"""What a run writes for TensorBoard, and a disk that takes none of it."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from kit.runs import train

from audiotool.training.tensorboard import TensorBoard

WRITE = "tensorboard.summary.writer.record_writer.RecordWriter.write"


@pytest.mark.parametrize("written", [0, 2, 9])
def test_a_full_disk_costs_no_training(
    written: int,
    tiny_recipe: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    left, shown = [None] * written, threading.excepthook

    def write(*_: Any) -> None:
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        left.pop()

    monkeypatch.setattr(WRITE, write)
    tiny_recipe["logging"]["tensorboard"] = True
    tiny_recipe["validation"]["samples"] = 1
    assert train(tiny_recipe, tmp_path).step == 6
    assert (tmp_path / "states" / "step-0000000006.pt").is_file()
    said = [m for m in caplog.messages if "TensorBoard" in m]
    assert said == ["no more is written for TensorBoard: the disk is full"]
    assert "Traceback" not in capfd.readouterr().err
    assert threading.excepthook is shown


def test_a_folder_that_cannot_be_made_costs_no_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    board = TensorBoard(tmp_path / "file" / "tensorboard", 0)
    board.scalars("train", 1, {"loss": 1.0})
    board.listen(1, "0/target", torch.ones(1, 2000), 16000)
    board.close()
    assert len(caplog.messages) == 1
