"""Training runs of plain values, and such as are stopped after a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audiotool import recipe
from audiotool.training.records import SilentListener
from audiotool.training.trainer import Trainer


def train(values: dict[str, Any], folder: Path, resume: bool = False, *settings: str) -> Any:
    """Run a recipe of plain values in a folder, and return the run's summary."""
    return Trainer(recipe.parse(values, "tiny", settings), folder, "cpu").run(resume)


class StopAfter(SilentListener):
    """A listener that ends its trainer after a step."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.trainer: Trainer | None = None

    def stepped(self, step: int) -> None:
        if step == self.step and self.trainer is not None:
            self.trainer.stop()


def stopped_after(step: int, values: dict[str, Any], folder: Path) -> Trainer:
    """Return a trainer that ends its run after a step."""
    listener = StopAfter(step)
    listener.trainer = Trainer(recipe.parse(values, "tiny"), folder, "cpu", listener)
    return listener.trainer
