"""The base class of tasks. A task is everything between a command line and a model, in one file.

    audiotool denoise in.wav -o out.wav
        options      the arguments and options                  -> the command and its help
        outputs      the files that one input becomes           -> folders, pipes, names
        processor    what is done to each input                 -> batch
        scoring      how outputs are compared with references   -> report, evaluate, validation
        example      the training examples                      -> train

A model serves a task if it takes and gives what the task asks for (`Model.takes`, `Model.gives`). This module
imports nothing heavy, because the help of the commands is read from these classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from audiotool.discovery import Catalogue
from audiotool.errors import RecipeError
from audiotool.tasks.options import TaskOptions

if TYPE_CHECKING:
    from pathlib import Path

    from audiotool.files.kinds import Inputs, Outputs
    from audiotool.files.processor import FileProcessor


class Scoring(NamedTuple):
    """The comparison of outputs with their references.

    Args:
        metrics: names of the metrics, in the order of reports.
        best: the metric that chooses the best checkpoint of a training.
        any_order: compare interchangeable stems in the order that scores best (permutation-invariant).
    """

    metrics: tuple[str, ...]
    best: str
    any_order: bool = False

    def order(self, references: Sequence[Path], estimates: Sequence[Path]) -> tuple[int, ...]:
        """Return the index of the estimate of each reference, or of each estimate without references."""
        if not references or not self.any_order:
            return tuple(range(len(estimates)))
        from audiotool.engines.base import interchangeable
        from audiotool.metrics.pairing import best_order

        names = [path.stem.rpartition(".")[2] for path in estimates]
        return best_order(references, estimates, interchangeable(names))


class Served(Protocol):
    """The interface that a model, its class and its engine share: kinds of input and of output."""

    @property
    def takes(self) -> tuple[str, ...]: ...

    @property
    def gives(self) -> tuple[str, ...]: ...


class Task(ABC):
    """Base class of all tasks; most derive from `InferenceTask`. The docstring of a task is the help of its
    command.

    Class attributes:
        name: name of the command, with hyphens.
        verb: word of the progress line: "denoising".
        done: suffix of outputs beside their inputs: "denoised" for NAME_denoised.wav.
        takes, gives: kinds of input and output that a model must have, see `models.base.Model`.
        options_class: dataclass of the command's arguments and options.
        settings: fields of `streaming.session.Settings` that every stream of the task has.
        scoring: how outputs are compared with references.
        example: the name of the kind of example it is trained with, see audiotool.data.examples.

    Args:
        options: values of the command line. A run calls `check`, `inputs`, `outputs` and `processor`, in this
            order.
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
        """Return whether a model can be trained for this task."""
        return cls.takes in model.takes and cls.gives in model.gives

    def check(self) -> None:  # noqa: B027 -- most tasks have nothing to check
        """Check that the options go together, before anything is opened.

        Raises:
            PlanError: names the options that exclude each other.
        """

    @abstractmethod
    def inputs(self) -> Inputs:
        """Return the kind of the inputs."""

    @abstractmethod
    def outputs(self, checkpoint: str | None) -> Outputs:
        """Return the outputs of one input.

        Args:
            checkpoint: a bundled name or a path; None is the task's default.
        Raises:
            PlanError, CheckpointError: the checkpoint has other outputs than the options ask for.
        """

    @abstractmethod
    def processor(self, checkpoint: str | None) -> FileProcessor:
        """Return the processor of the inputs; called when everything is planned.

        Raises:
            AudiotoolError: a file or package that the processor needs is missing.
        """

    def scored(self, outputs: Outputs) -> Scoring:
        """Return how these outputs are scored."""
        from audiotool.engines.base import interchangeable

        any_order = self.scoring.any_order and bool(interchangeable(outputs.stems))
        return self.scoring._replace(any_order=any_order)


TASKS: Catalogue[Task] = Catalogue("audiotool.tasks", Task, "task", RecipeError)


def served_by(model: Served) -> tuple[str, ...]:
    """Return the names of the tasks that a model serves, in the order of the model's `gives`."""
    found = [task for task in TASKS.all().values() if task.is_served_by(model)]
    return tuple(task.name for task in sorted(found, key=lambda task: model.gives.index(task.gives)))
