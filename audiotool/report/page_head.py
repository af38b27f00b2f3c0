"""The head of a page: command, model, totals, and failures with their reasons."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from datetime import datetime

from audiotool.metrics.rows import Row, means
from audiotool.report.csv_table import on_one_line
from audiotool.report.markup import Markup, element, joined
from audiotool.report.page_table import numeric_fact, of_recording
from audiotool.report.report import Report
from audiotool.report.scores import Measure, mixed_bands, rounded

LISTED = 10
"""Number of failures that are shown; more are collapsed."""


def title(report: Report) -> str:
    """Return the title of a page: "Denoise, 12 files"."""
    try:
        words = shlex.split(report.run.command or "")
    except ValueError:
        words = []
    what = words[1].capitalize() if len(words) > 1 else "Report"
    return f"{what}, {report.extent()}"


def head(report: Report, measures: Sequence[Measure]) -> Markup:
    """Return the heading, totals, facts of the run, and failures."""
    run = report.run
    began = [_date(run.started), run.machine]
    return element(
        "header",
        element("p", "audiotool report", class_="eyebrow"),
        element("h1", title(report)),
        element("p", " · ".join(word for word in began if word), class_="quiet"),
        element("dl", *(_total(*total) for total in _totals(report, measures)), class_="totals"),
        *([element("p", mixed, class_="quiet")] if (mixed := mixed_bands(report.rows)) else []),
        _made(report),
        _failures(report.rows),
    )


def _totals(report: Report, measures: Sequence[Measure]) -> list[tuple[str, object, str]]:
    """Return (name, value, small text below it) of each total."""
    rows, run = report.recordings(), report.run
    seconds = [
        s for row in rows if row.status != "failed" and (s := of_recording(row, "seconds")) is not None
    ]
    failures = sum(row.status == "failed" for row in rows)
    skipped = sum(row.status == "skipped" for row in rows)
    below = [f"of {run.planned}, interrupted"] if run.is_interrupted else []
    below += [f"{skipped} skipped"] if skipped else []
    below += [f"{len(report.rows)} stems"] if len(rows) < len(report.rows) else []
    totals: list[tuple[str, object, str]] = [("files", len(rows), ", ".join(below))]
    if seconds:
        totals.append(("audio", _duration(math.fsum(seconds)), ""))
    totals.append(("failed", failures, ""))
    if run.elapsed_s:
        totals.append(("took", _duration(run.elapsed_s), ""))
    if speed := _speed(rows):
        totals.append(("x real time", f"{speed:.1f}", "processing alone"))
    for measure in measures:
        found = means(report.rows, measure.name)
        if found.after is not None:
            note = "mean" if found.before is None else f"from {rounded(found.before)}"
            totals.append(
                (measure.heading, rounded(found.after), ", ".join(filter(None, (note, found.counted))))
            )
    return totals


def _speed(rows: Sequence[Row]) -> float | None:
    """Return the real-time factor of all rows together; None where nothing was processed."""
    # Rows that were only scored say nothing of a model's speed.
    made = [row for row in rows if row.status == "done"]
    facts = [[numeric_fact(row, name) or 0.0 for name in ("seconds", "real_time_factor")] for row in made]
    known = [(seconds, factor) for seconds, factor in facts if seconds > 0 and factor > 0]
    taken = math.fsum(seconds / factor for seconds, factor in known)
    return math.fsum(seconds for seconds, _ in known) / taken if taken else None


def _total(name: str, value: object, below: str) -> Markup:
    small = element("small", below) if below else ""
    failed = "failed" if name == "failed" and value else None
    return element("div", element("dt", name), element("dd", value, small), class_=failed)


def _made(report: Report) -> Markup:
    """Return the facts of the run."""
    run = report.run
    known: list[tuple[str, object]] = [("command", run.command), ("audiotool", run.version)]
    for model, sha256 in report.checkpoints().items():
        known += [("model", model), ("checkpoint", f"SHA-256 {sha256}" if sha256 else None)]
    known += [("licence", run.licence), ("settings", on_one_line(dict(run.settings)))]
    known = [(name, value) for name, value in known if value]
    if not known:
        return Markup("")
    pairs = [joined(element("dt", name), element("dd", value)) for name, value in known]
    return element("dl", *pairs, class_="made")


def _failures(rows: Sequence[Row]) -> Markup:
    failed = [row for row in rows if row.status == "failed"]
    if not failed:
        return Markup("")
    items = [element("li", element("b", row.name), " ", _reason(row)) for row in failed]
    count = f"{len(failed)} of {len(rows)} failed"
    summary_line = element("summary", count)
    return element(
        "details", summary_line, element("ul", *items), class_="failures", open=len(failed) <= LISTED
    )


def _reason(row: Row) -> str:
    """Return the reason of a failure, without the input's name or path with which it often begins."""
    reasons = row.notes or list(dict.fromkeys(row.reasons.values())) or ["no reason is known"]
    reason = "; ".join(reasons)
    source = str(row.facts.get("input") or row.name)
    for end in (": ", " "):
        folder, named, rest = reason.partition(row.name + end)
        if named and source.endswith(folder + row.name):
            return rest
    return reason


def _duration(seconds: float) -> str:
    """Return a duration as text: 12 s, 3.4 min, 1.25 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.2f} h"


def _date(started: str | None) -> str:
    """Return a date as text: "28 November 2026, 14:03"; text that is no date is returned as it is."""
    if started is None:
        return ""
    try:
        moment = datetime.fromisoformat(started)
    except ValueError:
        return started
    return f"{moment.day} {moment:%B %Y, %H:%M}"
