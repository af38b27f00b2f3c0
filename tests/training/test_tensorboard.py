"""What a run writes for TensorBoard, and a disk that takes none of it."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from kit.runs import train
from torch import Tensor

from audiotool import recipe
from audiotool.models.registry import MODELS
from audiotool.training.records import Records, SilentListener
from audiotool.training.run import Run
from audiotool.training.tensorboard import TensorBoard
from audiotool.training.watch import Watch

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


def test_a_hook_of_somebody_else_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    board = TensorBoard(tmp_path, 0)
    seen: list[threading.ExceptHookArgs] = []
    threading.excepthook = other = seen.append
    board.close()
    assert threading.excepthook is other


def test_errors_of_other_threads_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)

    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    board = TensorBoard(tmp_path, 0)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    board.close()
    assert [type(args.exc_value) for args in seen] == [OSError]


def test_the_sounds_of_a_separation_are_its_stems(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: dict[str, Tensor] = {}
    monkeypatch.setattr(Records, "listen", lambda _, step, name, sound, rate: heard.update({name: sound}))
    config = MODELS.get("conv-tasnet").small | {"sample_rate": 16000}
    tiny_recipe |= {"task": "separate", "model": {"name": "conv-tasnet", "config": config}}
    tiny_recipe["loss"] = [{"name": "permutation-invariant"}]
    tiny_recipe["validation"]["samples"] = 1
    example = {"input": torch.randn(1, 4000), "target": torch.randn(2, 4000)}
    monkeypatch.setattr(Watch, "_fixed_set", lambda _: ([example], "1e99"))
    run = Run(recipe.parse(tiny_recipe, "tiny"), tmp_path, "cpu", None)
    run.build(None)
    watch = Watch(run, SilentListener())
    watch.validate()
    watch.close()
    places = ["0/speaker1", "0/speaker2"]
    assert set(heard) == {"0/input", *(f"{p}/{name}" for p in places for name in ("estimate", "target"))}
    torch.testing.assert_close(heard["0/input"], example["input"], rtol=0, atol=0)
    for name in ("estimate", "target"):
        assert [len(heard[f"{place}/{name}"]) for place in places] == [1, 1]
    targets = torch.cat([heard[f"{place}/target"] for place in places])
    torch.testing.assert_close(targets, example["target"], rtol=0, atol=0)
