"""A run's folder, and the states in it from which a training is resumed.

    .lock                           locked while a process trains the run
    .saved                          there since the first state was written
    recipe.yaml                     the resolved recipe
    train.csv  valid.csv            values of the curves
    curves.png                      the curves, where matplotlib is installed
    tensorboard/                    curves, sounds, spectrograms
    states/step-0000005000.pt       everything needed to go on
    <name>.safetensors              averaged weights at the last validation: usable while training goes on
    <name>-best.safetensors         those of the best validation

Every file is written under a temporary name and renamed when it is complete.
"""

from __future__ import annotations

import csv
import errno
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from audiotool.atomic import held, replacing, write_text
from audiotool.data.config import Section
from audiotool.errors import CheckpointError, InputError, RecipeError
from audiotool.recipe.former_keys import renamed
from audiotool.recipe.schema import Recipe
from audiotool.writable import cause, refusal
from audiotool.yaml_documents import yaml_text

STATE_FORMAT = 1

CHANGEABLE = (
    "description",
    "licence",
    "data.root",
    "data.speech",
    "data.noise",
    "data.rir",
    "data.pairs",
    "data.evaluation",
    "data.cache",
    "data.workers",
    "data.decode_once",
    "train.steps",
    "train.max_skipped",
    "validation",
    "logging",
    "checkpointing",
)
"""Keys that may differ between a run and the recipe with which it is resumed."""


class RunFolder:
    """Paths of one run.

    Args:
        path: the folder, which is created at the first write.
        name: name of the recipe and of the exported checkpoints.
    """

    def __init__(self, path: Path | str, name: str) -> None:
        self.path = Path(path)
        self.states = self.path / "states"
        self.lock = self.path / ".lock"
        self.saved = self.path / ".saved"
        self.recipe = self.path / "recipe.yaml"
        self.training = self.path / "train.csv"
        self.validation = self.path / "valid.csv"
        self.latest = self.path / f"{name}.safetensors"
        self.best = self.path / f"{name}-best.safetensors"
        self.tensorboard = self.path / "tensorboard"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from training the run during the `with` block.

        Where the block ends before there is a run, the lock is removed, and so is an empty folder.

        Raises:
            RecipeError: another process trains it, or the file system refuses locks.
            InputError: the folder cannot be written.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(held(self.lock))
            except BlockingIOError as error:
                doubt = ", or its file system refuses locks" if error.errno == errno.EACCES else ""
                raise RecipeError(
                    f"{self.path} is being trained by another process{doubt}: wait for it, or choose another"
                    " folder with --run"
                ) from error
            except OSError as error:
                raise InputError(f"cannot write {self.path}: {cause(error)}") from error
            try:
                yield
            finally:
                if not self.recipe.is_file():
                    # Windows removes no open file.
                    with suppress(OSError):
                        self.lock.unlink()
                        self.path.rmdir()

    @staticmethod
    def recipe_of(path: Path) -> Path:
        """Return the path of the recipe of the run in a folder.

        Raises:
            RecipeError: the folder holds no run.
        """
        recipe = path / "recipe.yaml"
        if not recipe.is_file():
            raise RecipeError(f"{path} holds no run (no recipe.yaml): there is nothing to go on with")
        return recipe

    def state_files(self) -> list[Path]:
        """Return the paths of the states, the oldest first."""
        return sorted(self.states.glob("step-*.pt"))

    def check_new(self) -> None:
        """Check that the folder holds no other run.

        Raises:
            RecipeError: the folder holds states, rows or exported checkpoints.
        """
        files = self.state_files()
        step = int(files[-1].stem[5:]) if files else self._recorded_step()
        if files or step:
            raise RecipeError(
                f"{self.path} holds a run at step {step}: continue it with --resume, or choose another folder"
                " with --run"
            )
        for path in (self.latest, self.best):
            if path.exists():
                raise RecipeError(f"{path} exists: choose another folder with --run")

    def check_stateless(self) -> None:
        """Check that a run without a state has not had one, so that it may begin anew.

        Raises:
            RecipeError: the folder holds results, and the run has had a state, or there is no run.
        """
        results = self.latest.exists() or self.best.exists() or self._recorded_step()
        if results and (self.saved.exists() or not self.recipe.is_file()):
            raise RecipeError(
                f"{self.path} holds the results of a run whose states are gone: choose another folder with"
                " --run, or remove it to begin anew"
            )

    def _recorded_step(self) -> int:
        """Return the last step of both tables; 0 when they have none."""
        rows = [*read_rows(self.training), *read_rows(self.validation)]
        return max((int(row["step"]) for row in rows), default=0)

    def forget_states(self) -> None:
        """Remove the mark of a state that the folder held before, because the run begins anew."""
        self.saved.unlink(missing_ok=True)

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the resolved recipe into the folder, from which `--resume` reads it."""
        write_text(self.recipe, yaml_text(recipe.plain()))

    def save_state(self, state: dict[str, Any], keep: int) -> None:
        """Write a state and remove all states but the newest `keep`.

        Raises:
            CheckpointError: the disk is full or the folder cannot be written; earlier states are kept.
        """
        path = self.states / f"step-{state['step']:010d}.pt"
        try:
            with replacing(path) as file:
                try:
                    torch.save({"format": STATE_FORMAT, **state}, file)
                except RuntimeError as error:
                    # torch raises an error of its own on a full disk.
                    raise OSError(refusal(file) or str(error)) from error
            self.saved.touch()
        except OSError as error:
            raise CheckpointError(
                f"cannot write {path}: {cause(error)}; earlier states are intact"
            ) from error
        for old in self.state_files()[:-keep]:
            old.unlink(missing_ok=True)

    def load_state(self) -> dict[str, Any] | None:
        """Load the newest state to the CPU; return None when there is none.

        Raises:
            CheckpointError: it cannot be read, or was written in another format.
        """
        files = self.state_files()
        if not files:
            return None
        try:
            state = torch.load(files[-1], map_location="cpu", weights_only=True)
        except Exception as error:
            kind = type(error).__name__
            raise CheckpointError(
                f"{files[-1]} cannot be read ({kind}): delete it to resume from the state before it"
            ) from error
        if state.get("format") != STATE_FORMAT:
            raise CheckpointError(
                f"{files[-1]} has state format {state.get('format')}, this audiotool reads {STATE_FORMAT}"
            )
        return state


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table, without one that a crash has cut off; none when there is no table."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if None not in row.values() and str(row.get("step", "")).isdigit()]


def check_same_recipe(old: dict[str, Any], new: Recipe, run: Path) -> None:
    """Check that a recipe is the one with which the run in the folder `run` was started.

    Raises:
        RecipeError: it differs; the message has each differing key with both values.
    """
    differing = list(_differences(renamed(old, str(run)), new))
    if differing:
        raise RecipeError(
            f"the run was started with another recipe: {'; '.join(differing)}: undo that, start a new run, or"
            f" go on as it is with `audiotool train --resume {run}`"
        )


def _changeable(key: str) -> bool:
    return any(key == c or key.startswith(f"{c}.") for c in CHANGEABLE)


def _differences(old: Mapping[str, Any], new: Section, place: str = "") -> Iterator[str]:
    """Yield each differing key path with both values.

    Only sections are compared key by key. Lists, free mappings (`config`, `splits`), and a section where the
    other side has none, are values.
    """
    values = new.model_dump(mode="json")
    for key, before in old.items():
        # A key on one side only is a default that another version of the schema has or lacks.
        if key not in values or _changeable(place + key):
            continue
        section = getattr(new, key)
        if isinstance(section, Section) and isinstance(before, dict):
            yield from _differences(before, section, f"{place}{key}.")
        elif before != values[key]:
            yield f"{place}{key}: {before!r} became {values[key]!r}"
