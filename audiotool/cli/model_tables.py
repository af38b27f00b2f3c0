"""Tables of checkpoints and architectures, 80 columns wide; `--json` has all fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audiotool.cli.screen import show, table, write
from audiotool.errors import UnknownCheckpoint
from audiotool.text import nearest, one_line

METRICS = 3
"""Number of a task's metrics that are shown."""

Row = Mapping[str, Any]


BUNDLED = (
    "Bundled checkpoints (*: the default, of two the higher one that above 24 kHz;\n"
    "scores on the test split: input→output; latency: algorithmic; `audiotool bench`\n"
    "tells it with hop and with resampling)"
)
IMPORTED = "Imported checkpoints"


def print_checkpoints(rows: Sequence[Row], title: str) -> None:
    """Print a table for each task, with the scores of its checkpoints on their test sets.

    Args:
        rows: {"checkpoint", "task", "default", "parameters", "latency_ms", "licence", "test", "input"}, the
            last two {metric: value} of the outputs and of the unprocessed input, and perhaps
            "macs_per_second". Parameters, latency and cost are None where they are not known.
        title: heading of the tables.
    """
    from audiotool.tasks.base import TASKS

    if not rows:
        write("Bundled checkpoints: none\n")
        return
    write(f"{title}\n\n")
    for task in dict.fromkeys(row["task"] for row in rows):
        family = [row for row in rows if row["task"] == task]
        known = {metric for row in family for metric in row["test"]}
        metrics = [metric for metric in TASKS.get(task).scoring.metrics if metric in known][:METRICS]
        made = table(task, "params", "latency", *_costs(family), *metrics, "licence")
        made.columns[-1].justify = "left"
        for row in family:
            name = one_line(row["checkpoint"]) + (" *" if row["default"] else "")
            scores = [change(row["input"].get(metric), row["test"].get(metric)) for metric in metrics]
            made.add_row(name, *_size(row), *scores, one_line(row["licence"]))
        show(made)
        write("\n")


def print_faults(faults: Sequence[Row]) -> None:
    """Print why files are not in the tables, a line each.

    Args:
        faults: {"path", "error"}.
    """
    if faults:
        lines = "".join(f"{one_line(fault['error'])}\n" for fault in faults)
        write(f"Left out, because they cannot be used\n\n{lines}\n")


def print_architectures(rows: Sequence[Row]) -> None:
    """Print one table of architectures at their published settings.

    Args:
        rows: {"model", "tasks", "sample_rate", "parameters", "latency_ms", "causal"}, and perhaps
            "macs_per_second".
    """
    write("Architectures, with their published settings\n\n")
    made = table("model", "params", "latency", *_costs(rows), "kHz", "causal", "tasks")
    made.columns[-1].justify, made.columns[-1].no_wrap = "left", False
    for row in rows:
        rate, causal = f"{row['sample_rate'] / 1000:g}", "yes" if row["causal"] else "no"
        made.add_row(row["model"], *_size(row), rate, causal, ", ".join(row["tasks"]))
    show(made)


def change(before: float | None, after: float | None) -> str:
    """Return a score without and with processing: "1.26→1.96"."""
    if after is None:
        return ""
    return _brief(after) if before is None else f"{_brief(before)}→{_brief(after)}"


def _brief(score: float) -> str:
    """Return a score in three digits, zeros among them, or in two if it takes more than five characters."""
    digits = f"{score:#.3g}".rstrip(".")
    return digits if len(digits) <= 5 else f"{score:#.2g}".rstrip(".")


def _costs(rows: Sequence[Row]) -> list[str]:
    return ["G MAC/s"] if "macs_per_second" in rows[0] else []


def _size(row: Row) -> list[str]:
    """Return the cells of a row's parameters, latency and cost; empty ones where they are not known."""
    if row["parameters"] is None:
        return [""] * (2 + ("macs_per_second" in row))
    latency = row["latency_ms"]
    cells = [f"{row['parameters'] / 1e6:.2f} M", "unbounded" if latency is None else f"{latency:.0f} ms"]
    if "macs_per_second" in row:
        cells.append(f"{row['macs_per_second'] / 1e9:.3g}")
    return cells


def unknown_model(name: str) -> UnknownCheckpoint:
    """Return the error for a name that is neither a checkpoint's nor an architecture's."""
    from audiotool.model_facts import published
    from audiotool.named_checkpoints import named

    close = nearest(name, [*named(), *(row["model"] for row in published())])
    return UnknownCheckpoint(
        f"no checkpoint and no architecture is called '{name}'{close} `audiotool models list` names all"
    )
