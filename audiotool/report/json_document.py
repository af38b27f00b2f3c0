"""Write reports as JSON, and read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiotool import json_output
from audiotool.documents import DocumentError, read_json, read_text
from audiotool.errors import InputError
from audiotool.metrics.rows import Row, from_columns, summary
from audiotool.metrics.values import Curve, Value, finite_number
from audiotool.report.comparison import Comparison, PairedScores
from audiotool.report.report import COUNTS, Report, Run

LARGEST = 1_000_000_000
"""Greatest size of a report in bytes; a file's row has about a thousand."""

FORMER_SETTINGS = {"rehearse": "warm_up"}
"""Names of settings in reports that have no `schema` yet -> today's."""


def to_json(report: Report) -> str:
    """Return {"run": a `Run`, "files": [{"file", scores…, facts…, "reasons", "notes"}], "summary": …}.

    A row has "run_notes", too, if some of its notes are of the run and not of a batch's output.

    The document begins as every `json_output.document`, and ends with "comparison" if there is another
    system, and "failures" if scores had thresholds.
    """
    files = [
        {
            "file": row.name,
            **{name: value.value for name, value in row.columns().items()},
            **row.facts,
            **(
                {"curves": {name: curve._asdict() for name, curve in row.curves.items()}}
                if row.curves
                else {}
            ),
            "reasons": row.reasons,
            "notes": row.notes,
            **({"run_notes": row.run_notes} if row.run_notes else {}),
        }
        for row in report.rows
    ]
    run = {name: value for name, value in dataclasses.asdict(report.run).items() if value not in (None, {})}
    last: dict[str, Any] = {}
    if report.comparison is not None:
        last["comparison"] = dataclasses.asdict(report.comparison)
    if report.failures is not None:
        last["failures"] = list(report.failures)
    return json_output.document(report.command, run=run, files=files, summary=summary(report.rows), **last)


def read_json_report(path: Path) -> Report:
    """Read a report that `to_json` wrote.

    Raises:
        InputError: the file cannot be read, or is no report.
    """
    try:
        document = read_json(read_text(path, LARGEST))
    except DocumentError as error:
        raise InputError(f"{path} is no report: {error}") from error
    try:
        columns = [str(name) for name in document["summary"]]
        rows = [_row(entry, columns) for entry in document["files"]]
        return Report(
            rows,
            _run(document.get("run", {})),
            str(document.get("command", "evaluate")),
            comparison=_comparison(document["comparison"]) if "comparison" in document else None,
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InputError(f"{path} is no report of audiotool: give the .json that --report wrote") from error


def _run(values: dict[str, Any]) -> Run:
    known = {item.name for item in dataclasses.fields(Run)}
    found = {name: value for name, value in values.items() if name in known}
    settings = _settings(found.pop("settings", {}))
    elapsed = found.pop("elapsed_s", None)
    facts: dict[str, Any] = {
        name: int(value) if name in COUNTS else str(value) for name, value in found.items()
    }
    # The first reports had no run, and so no version.
    return Run(
        **{"version": None, **facts}, settings=settings, elapsed_s=None if elapsed is None else float(elapsed)
    )


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    return {FORMER_SETTINGS.get(name, name): value for name, value in values.items()}


def _comparison(found: Mapping[str, Any]) -> Comparison:
    metrics = {str(name): _paired(dict(scores)) for name, scores in found["metrics"].items()}
    counts = {name: int(found[name]) for name in ("files", "only_this", "only_other")}
    two_bands = {str(name): int(count) for name, count in found.get("two_bands", {}).items()}
    return Comparison(against=str(found["against"]), metrics=metrics, two_bands=two_bands, **counts)


def _paired(scores: dict[str, Any]) -> PairedScores:
    ends, wins, losses = (scores[name] for name in ("interval_95", "wins", "losses"))
    low, high = (None, None) if ends is None else map(finite_number, ends)
    return PairedScores(
        n=int(scores["n"]),
        **{name: finite_number(scores[name]) for name in ("mean_other", "mean", "difference")},
        interval_95=None if low is None or high is None else (low, high),
        wins=None if wins is None else int(wins),
        losses=None if losses is None else int(losses),
    )


def _row(entry: dict[str, Any], columns: list[str]) -> Row:
    reasons = dict(entry["reasons"])

    def value(column: str) -> Value | None:
        if column not in entry:
            return None
        number = entry[column]
        return Value(None, str(reasons.get(column))) if number is None else Value(finite_number(number))

    scores, baseline = from_columns(columns, value)
    curves = {
        str(name): Curve(
            finite_number(found["step_s"]),
            tuple(None if v is None else finite_number(v) for v in found["values"]),
        )
        for name, found in entry.get("curves", {}).items()
    }
    own = {"file", "reasons", "notes", "run_notes", "curves", *columns}
    facts = {name: fact for name, fact in entry.items() if name not in own}
    if isinstance(facts.get("settings"), dict):
        facts["settings"] = _settings(facts["settings"])
    notes = [str(note) for note in entry["notes"]]
    of_scoring = [str(note) for note in entry.get("run_notes", [])]
    failed = facts.get("status") == "failed"
    return Row(str(entry["file"]), scores, baseline, facts, notes, failed, curves, run_notes=of_scoring)
