"""Tables of checkpoints and architectures, 80 columns wide; all there is to know is in `--json`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

METRICS = 3
"""Of a task's metrics, the first so many."""

Row = Mapping[str, Any]


def print_checkpoints(rows: Sequence[Row]) -> None:
    """A table for each task, with what its checkpoints scored on their test sets.

    Args:
        rows: {"checkpoint", "task", "default", "parameters", "latency_ms", "test", "input"}, the last two
            {metric: value} of the outputs and of the unprocessed input, and perhaps "macs_per_second".
    """
    from audiotool.tasks.base import TASKS

    if not rows:
        sys.stdout.write("Bundled checkpoints: none\n")
        return
    sys.stdout.write("Bundled checkpoints (*: the default; scores on the test split: input → output)\n\n")
    for task in dict.fromkeys(row["task"] for row in rows):
        family = [row for row in rows if row["task"] == task]
        known = {metric for row in family for metric in row["test"]}
        metrics = [metric for metric in TASKS.get(task).metrics if metric in known][:METRICS]
        table = _table(task, "weights", "latency", *_costs(family), *metrics)
        for row in family:
            name = row["checkpoint"] + (" *" if row["default"] else "")
            scores = [_change(row["input"].get(metric), row["test"].get(metric)) for metric in metrics]
            table.add_row(name, *_size(row), *scores)
        _print(table)


def print_architectures(rows: Sequence[Row]) -> None:
    """One table, with the published settings.

    Args:
        rows: {"model", "tasks", "sample_rate", "parameters", "latency_ms", "causal"}, and perhaps
            "macs_per_second".
    """
    sys.stdout.write("Architectures, with their published settings\n\n")
    table = _table("model", "weights", "latency", *_costs(rows), "kHz", "causal", "tasks")
    table.columns[-1].justify = "left"
    for row in rows:
        rate, causal = f"{row['sample_rate'] / 1000:g}", "yes" if row["causal"] else "no"
        table.add_row(row["model"], *_size(row), rate, causal, ", ".join(row["tasks"]))
    _print(table)


def _table(first: str, *others: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    Console(file=sys.stdout).print(table)
    sys.stdout.write("\n")


def _costs(rows: Sequence[Row]) -> list[str]:
    return ["G MAC/s"] if "macs_per_second" in rows[0] else []


def _size(row: Row) -> list[str]:
    latency = row["latency_ms"]
    cells = [f"{row['parameters'] / 1e6:.2f} M", "unbounded" if latency is None else f"{latency:.0f} ms"]
    if "macs_per_second" in row:
        cells.append(f"{row['macs_per_second'] / 1e9:.3g}")
    return cells


def _change(before: float | None, after: float | None) -> str:
    if after is None:
        return ""
    return f"{after:.3g}" if before is None else f"{before:.3g} → {after:.3g}"
