"""A run's folder: which runs may write there, what is kept when one is killed, and states."""

from __future__ import annotations

import errno
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from kit.curves import curve
from kit.disk import largest_file
from kit.runs import train

from audiotool import checkpoint, recipe
from audiotool.errors import CheckpointError, InputError, RecipeError
from audiotool.importers.base import import_checkpoint
from audiotool.training import folder as folder_module
from audiotool.training.folder import RunFolder, check_same_recipe
from audiotool.training.run import Run
from audiotool.training.trainer import Trainer
from audiotool.training.watch import Watch


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


def test_full_disk_keeps_the_last_state(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def save_until_full(state: Any, file: Any) -> None:
        if state["step"] == 4:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        save(state, file)

    monkeypatch.setattr(folder_module.torch, "save", save_until_full)  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match=r"disk is full.*intact"):
        train(tiny_recipe, tmp_path)
    assert [p.name for p in (tmp_path / "states").iterdir()] == ["step-0000000002.pt"]
    monkeypatch.undo()
    assert train(tiny_recipe, tmp_path, True).step == 6


def test_folder_that_cannot_be_made(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        train(tiny_recipe, tmp_path / "file" / "run")


def test_folder_of_another_run_is_refused(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    train(tiny_recipe, tmp_path, False, "train.steps=2")
    with pytest.raises(RecipeError, match=r"holds a run at step 2.*--resume"):
        train(tiny_recipe, tmp_path)
    with pytest.raises(RecipeError, match=r"optimiser\.lr: 0\.001 became 0\.002"):
        train(tiny_recipe, tmp_path, True, "optimiser.lr=2e-3")
    # What is validated is no part of what is trained.
    again = ("train.steps=3", "data.evaluation.snr_db=[0, 5]", "validation.every=1")
    assert train(tiny_recipe, tmp_path, True, *again).step == 3
    with pytest.raises(RecipeError, match=r"train\.steps: .* is at step 3, beyond 2"):
        train(tiny_recipe, tmp_path, True, "train.steps=2")


def test_results_without_states_are_not_overwritten(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    train(tiny_recipe, tmp_path)
    best = (tmp_path / "tiny-best.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "states")
    with pytest.raises(RecipeError, match="holds a run at step 6"):
        train(tiny_recipe, tmp_path)
    for settings in ([], ["train.steps=9"]):
        with pytest.raises(RecipeError, match=r"results of a run whose states are gone: choose another"):
            train(tiny_recipe, tmp_path, True, *settings)
    for table in ("train.csv", "valid.csv"):
        (tmp_path / table).unlink()
    with pytest.raises(RecipeError, match=r"tiny\.safetensors exists: choose another"):
        train(tiny_recipe, tmp_path)
    with pytest.raises(RecipeError, match="states are gone"):
        train(tiny_recipe, tmp_path, True)
    (tmp_path / ".saved").unlink()
    (tmp_path / "recipe.yaml").unlink()
    with pytest.raises(RecipeError, match="states are gone"):
        train(tiny_recipe, tmp_path, True)
    assert (tmp_path / "tiny-best.safetensors").read_bytes() == best


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ({"checkpointing": {"every": 50}}, ["checkpointing.every=2"]),
        ({"validation": {"every": 2, "count": 0}, "logging": {"every": 10, "tensorboard": False}}, []),
    ],
)
def test_results_of_a_run_that_never_had_a_state_are_made_again(
    first: dict[str, Any], again: list[str], tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    values = tiny_recipe | {"checkpointing": {"every": 50}} | first
    trainer = Trainer(recipe.parse(values, "tiny"), tmp_path, "cpu")
    step = trainer._step

    def killed_after_five(batches: Any) -> None:
        step(batches)
        if trainer.current.counters.step == 5:
            raise KeyboardInterrupt

    trainer._step = killed_after_five  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert (tmp_path / "tiny.safetensors").exists()
    assert train(values, tmp_path, True, *again).step == 6


@pytest.mark.parametrize("resume", [False, True])
def test_an_emptied_folder_is_that_of_a_new_run(
    resume: bool, tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*inputs: Any) -> None:
        raise KeyboardInterrupt

    train(tiny_recipe, tmp_path, False, "train.steps=2")
    for path in tmp_path.glob("[!.]*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with monkeypatch.context() as dying:
        dying.setattr(Run, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_recipe, tmp_path, resume, "train.steps=2")
    assert train(tiny_recipe, tmp_path, True, "train.steps=2").step == 2


@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_run_killed_before_its_first_state_begins_anew(
    tiny_recipe: dict[str, Any],
    tmp_path: Path,
    killed_after: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    writers: list[dict[str, Any]] = []

    class Writer:
        def __init__(self, folder: str, **options: Any) -> None:
            writers.append(options)

        def add_scalar(self, *values: Any) -> None: ...

        def close(self) -> None: ...

    def killed(*inputs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    tiny_recipe["validation"] |= {"every": 1, "metrics": []}
    tiny_recipe["logging"]["tensorboard"] = True
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(tiny_recipe, whole)
    with monkeypatch.context() as dying:
        if killed_after == 1:
            dying.setattr(Watch, "log", lambda watch: killed() if watch.run.counters.step == 2 else None)
        else:
            dying.setattr(Run, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_recipe, parts)
    assert train(tiny_recipe, parts, True).step == 6
    assert f"{parts} holds no state: training begins anew" in caplog.messages
    for table in ("train.csv", "valid.csv"):
        assert curve(parts / table) == curve(whole / table)
    # The curves of the first attempt are removed.
    assert [options["purge_step"] for options in writers] == [1, 1, 1]


def test_unreadable_state_is_named(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    train(tiny_recipe, tmp_path, False, "train.steps=2")
    state = tmp_path / "states" / "step-0000000002.pt"
    state.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"step-0000000002\.pt cannot be read.*delete it"):
        train(tiny_recipe, tmp_path, True)
    torch.save({"format": 99}, state)
    with pytest.raises(CheckpointError, match="state format 99"):
        train(tiny_recipe, tmp_path, True)


def test_a_state_is_not_taken_for_an_official_checkpoint(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    train(tiny_recipe, tmp_path)
    state = tmp_path / "states" / "step-0000000006.pt"
    for use in (checkpoint.load, lambda path: import_checkpoint(path, "cleanunet")):
        with pytest.raises(
            CheckpointError, match=r"state of a training.*take .*tiny-best\.safetensors.*--resume"
        ):
            use(state)
    plain = tmp_path / "plain.pt"
    torch.save({"weight": torch.zeros(3)}, plain)
    with pytest.raises(CheckpointError, match="models import"):
        checkpoint.load(plain)


@pytest.mark.parametrize(
    ("name", "setting", "place"),
    [
        ("hifigan-v1", "adversarial=null", "adversarial"),
        ("denoise", "adversarial={discriminators: [{name: parallel-wavegan}]}", "adversarial"),
        ("hifigan-v1", "audio.mel={preset: hifigan-22k, f_max: 7000}", r"audio\.mel"),
        ("nsf", "audio.mel={sample_rate: 16000, n_fft: 512, hop_length: 80, n_mels: 80}", r"audio\.mel"),
        ("denoise", "data.splits={train: [train, valid]}", r"data\.splits"),
    ],
)
def test_a_section_or_mapping_that_came_or_went_is_another_recipe(
    tmp_path: Path, name: str, setting: str, place: str
) -> None:
    one, other = recipe.load(name), recipe.load(name, [setting])
    check_same_recipe(one.plain(), one, tmp_path)
    for old, new in ((one, other), (other, one)):
        with pytest.raises(RecipeError, match=rf"another recipe: {place}: .* became "):
            check_same_recipe(old.plain(), new, tmp_path)


def test_a_key_that_another_version_lacks_is_no_difference(tmp_path: Path) -> None:
    new = recipe.load("denoise")
    old = new.plain()
    del old["train"]["max_skipped"], old["train"]["precision"]
    old["optimiser"]["gone"] = True
    check_same_recipe(old, new, tmp_path)
