"""A task: what goes in, what comes out, which metrics apply. Facts only; the machinery is shared."""

from __future__ import annotations

from typing import ClassVar

from audiotool.discovery import Catalogue
from audiotool.errors import RecipeError


class Task:
    """Base of the tasks.

    Class attributes:
        name: "denoise", "separate", "vocode" or "super-resolve".
        verb: what the progress line says while it works.
        done: what outputs are called beside their inputs: NAME_denoised.wav.
        metrics: names of the metrics a report has, in order.
        selection_metric: the one that chooses the best checkpoint, and whether more is better.
        widens: True when the output may hold a wider band than the input: its rate is at least the model's,
            and what lies above the model's band is kept as it is.
        example: the name of the training pair the data room builds for it.
    """

    name: ClassVar[str]
    verb: ClassVar[str]
    done: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    selection_metric: ClassVar[tuple[str, bool]]
    widens: ClassVar[bool] = False
    example: ClassVar[str]


TASKS: Catalogue[Task] = Catalogue("audiotool.tasks", Task, "task", RecipeError)
