"""The records of a run: CSV files and TensorBoard; and the interface of listeners."""

from __future__ import annotations

import csv
import io
import logging
import math
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from audiotool.atomic import write_text
from audiotool.errors import InputError
from audiotool.extras import is_there
from audiotool.training.folder import RunFolder, read_rows
from audiotool.training.tensorboard import TensorBoard
from audiotool.writable import cause

log = logging.getLogger(__name__)

SET = "set"
"""Column of valid.csv that names the fixed set: values on different ones cannot be compared."""

METRIC = "metric"
"""Column of valid.csv that names the metric that chose the best checkpoint, or was to."""

CURVES = "curves.png"
"""File name of the curves of both tables, which are drawn after each validation."""


class Listener(Protocol):
    """Receives the progress of a run; the command line shows it."""

    def preparing(self, what: str) -> None:
        """Called before each preparation, with its description."""

    def decoding(self, done: int, count: int | None) -> None:
        """Called while recordings are decoded for the first time: `done` of `count` are decoded."""

    def started(self, step: int, steps: int, facts: dict[str, Any]) -> None:
        """Called when training begins at `step` of `steps`."""

    def stepped(self, step: int) -> None:
        """Called when `step` steps are done."""

    def logged(self, step: int, values: dict[str, float]) -> None:
        """Called with means over the last steps: loss, its terms, rate, gradient norm, throughput."""

    def validated(self, step: int, values: dict[str, float]) -> None:
        """Called with the metrics of a validation, possibly many steps after it began."""


class SilentListener:
    """A listener that does nothing."""

    def preparing(self, what: str) -> None: ...

    def decoding(self, done: int, count: int | None) -> None: ...

    def started(self, step: int, steps: int, facts: dict[str, Any]) -> None: ...

    def stepped(self, step: int) -> None: ...

    def logged(self, step: int, values: dict[str, float]) -> None: ...

    def validated(self, step: int, values: dict[str, float]) -> None: ...


class Table:
    """A CSV file to which rows of steps are appended. It is rewritten when a row has a new column.

    Args:
        path: path of the file.
        step: the run begins here; rows of later steps are removed, because these are repeated.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []
        self.columns: list[str] = []
        if path.is_file():
            self.rows = [row for row in read_rows(path) if int(row["step"]) <= step]
            self._rewrite()

    def add(self, step: int, values: dict[str, float], words: dict[str, str] | None = None) -> None:
        """Append a row.

        Args:
            words: cells that are no numbers.

        Raises:
            InputError: the disk is full.
        """
        row = table_row(step, values) | (words or {})
        self.rows.append(row)
        if not row.keys() <= set(self.columns):
            self._rewrite()
            return
        try:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns, restval="").writerow(row)
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {cause(error)}") from error

    def _rewrite(self) -> None:
        self.columns = list(dict.fromkeys(key for row in self.rows for key in row)) or ["step"]
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())


def table_row(step: int, values: dict[str, float]) -> dict[str, str]:
    """Return the row of a step as a table has it; NaN is an empty cell."""
    return {"step": str(step)} | {k: "" if math.isnan(v) else f"{v:.7g}" for k, v in values.items()}


class Records:
    """Both tables and TensorBoard of a run.

    Args:
        folder: folder of the run.
        step: the run begins here; records of later steps are removed.
        tensorboard: write curves, sounds and spectrograms for TensorBoard.
    """

    def __init__(self, folder: RunFolder, step: int, tensorboard: bool) -> None:
        self.path = folder.path
        self.training = Table(folder.training, step)
        self.validation = Table(folder.validation, step)
        self.board = TensorBoard(folder.tensorboard, step) if tensorboard else None

    def log(self, step: int, values: dict[str, float]) -> None:
        """Add a row to the training curve."""
        self.training.add(step, values)
        if self.board is not None:
            self.board.scalars("train", step, values)

    def validate(self, step: int, values: dict[str, float], fixed_set: str, metric: str) -> None:
        """Add a row to the validation curve.

        Args:
            fixed_set: name of the set on which the values were measured.
            metric: name of the metric that chooses the best checkpoint.
        """
        self.validation.add(step, values, {SET: fixed_set, METRIC: metric})
        if self.board is not None:
            self.board.scalars("valid", step, values)
        self.draw()

    def listen(self, step: int, name: str, waveform: Tensor, sample_rate: int) -> None:
        """Write the mono mix of a waveform (C, T) and its spectrogram to TensorBoard."""
        if self.board is not None:
            self.board.listen(step, name, waveform, sample_rate)

    def draw(self) -> None:
        """Draw the curves into the run's folder, if matplotlib is installed. Errors are only logged."""
        if not is_there("matplotlib"):
            return
        from audiotool.plots.curves import plot_curves
        from audiotool.plots.figure import save

        try:
            save(plot_curves(self.training.rows, self.validation.rows), self.path / CURVES)
        except Exception as error:
            log.warning("the curves were not drawn: %s", error)

    def close(self) -> None:
        self.draw()
        if self.board is not None:
            self.board.close()
