"""A task: all that lies between what a user types and what a model does, in one class and one file.

    audiotool denoise in.wav -o out.wav
        options      what can be typed                          -> the command and its help
        outputs      what one input becomes                     -> folders, pipes, names
        processor    what is done to each input                 -> batch
        scoring      how outputs are compared with references   -> report, evaluate, validation
        example      what a model learns it from                -> train

Which models serve a task follows from what they take and give (`Model.takes`, `Model.gives`). Nothing here
imports anything heavy: help is read from these classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from audiotool.discovery import Catalogue
from audiotool.errors import RecipeError
from audiotool.tasks.options import TaskOptions

if TYPE_CHECKING:
    from audiotool.files.kinds import Inputs, Outputs
    from audiotool.files.processor import FileProcessor


@dataclass(frozen=True)
class Scoring:
    """How outputs are compared with their references.

    Args:
        metrics: names, in the order of reports.
        best: the one of them that chooses the best checkpoint.
        any_order: stems that only their order tells apart are compared in the order that fits best.
    """

    metrics: tuple[str, ...]
    best: str
    any_order: bool = False


class Served(Protocol):
    """A model, its class or what runs it: what it takes and what it can give."""

    @property
    def takes(self) -> tuple[str, ...]: ...

    @property
    def gives(self) -> tuple[str, ...]: ...


class Task:
    """Base of the tasks; `InferenceTask` is that of most. The docstring of a task is the help of its command.

    Class attributes:
        name: the command's, with hyphens.
        verb: what the progress line says while it works.
        done: what outputs are called beside their inputs: NAME_denoised.wav.
        takes, gives: what a model must take and give to serve it, see `models.base.Model`.
        options_class: what can be typed after the command.
        settings: fields of `streaming.session.Settings` that every stream of the task has.
        scoring: how outputs are compared with references.
        example: the name of the kind of example it is trained with, see audiotool.data.examples.

    Args:
        options: what was typed. A run asks for `check`, `inputs`, `outputs` and `processor`, in this order.
    """

    name: ClassVar[str]
    verb: ClassVar[str]
    done: ClassVar[str]
    takes: ClassVar[str] = "waveform"
    gives: ClassVar[str] = "speech"
    options_class: ClassVar[type[TaskOptions]] = TaskOptions
    settings: ClassVar[Mapping[str, Any]] = {}
    scoring: ClassVar[Scoring]
    example: ClassVar[str]

    def __init__(self, options: TaskOptions) -> None:
        self.options = options

    @classmethod
    def is_served_by(cls, model: Served) -> bool:
        """Whether a model can be trained for this task."""
        return cls.takes in model.takes and cls.gives in model.gives

    def check(self) -> None:
        """Refuse options that do not go together, before anything is opened.

        Raises:
            PlanError: which of them.
        """

    def inputs(self) -> Inputs:
        """What one input is."""
        raise NotImplementedError

    def outputs(self, checkpoint: str | None) -> Outputs:
        """What one input becomes.

        Args:
            checkpoint: a bundled name or a path; None is the task's default.
        Raises:
            PlanError, CheckpointError: the checkpoint does not give what was asked for.
        """
        raise NotImplementedError

    def processor(self, checkpoint: str | None) -> FileProcessor:
        """What is done to each input; called when all is planned.

        Raises:
            AudiotoolError: it cannot be described without what is missing.
        """
        raise NotImplementedError

    def scored(self, outputs: Outputs) -> Scoring:
        """How these outputs are scored."""
        from audiotool.engines.base import are_interchangeable

        any_order = self.scoring.any_order and are_interchangeable(outputs.stems)
        return dataclasses.replace(self.scoring, any_order=any_order)


TASKS: Catalogue[Task] = Catalogue("audiotool.tasks", Task, "task", RecipeError)


def served_by(model: Served) -> tuple[str, ...]:
    """Names of the tasks that a model serves, those of what it gives first before the others."""
    found = [task for task in TASKS.all().values() if task.is_served_by(model)]
    return tuple(task.name for task in sorted(found, key=lambda task: model.gives.index(task.gives)))
