"""Join the reports of shards to one."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path

from audiotool.errors import InputError
from audiotool.metrics.rows import Row
from audiotool.report.read import read_report
from audiotool.report.report import Report, Run

_SHARD = re.compile(r"(.*?)(\d+)-of-(\d+)(.*)")


def merged(paths: Sequence[Path]) -> Report:
    """Return a report of all rows, in the order of the reports; means are computed when it is written.

    Facts of the run that all reports share are kept. If several rows are of one file, as in the reports of
    two systems, every row says which report it comes from.

    Raises:
        InputError: one of the files cannot be read or is no report.
    """
    reports = [read_report(path) for path in paths]
    rows = [row for report in reports for row in report.rows]
    if repeated(rows):
        for path, report in zip(paths, reports, strict=True):
            for row in report.rows:
                # A report that was merged before has named its own.
                row.facts.setdefault("report", str(path))
    return Report(rows, _common([report.run for report in reports]), reports[0].command or "report merge")


def _common(runs: Sequence[Run]) -> Run:
    first = runs[0]
    unlike = [
        f.name for f in fields(Run) if any(getattr(run, f.name) != getattr(first, f.name) for run in runs)
    ]
    unknown = Run(version=None)
    return replace(first, **{name: getattr(unknown, name) for name in unlike})


def check_distinct(paths: Sequence[Path]) -> None:
    """Check that no report is given twice, and no shard in two formats: their rows would count twice.

    Raises:
        InputError: names the two paths.
    """
    seen: dict[Path, Path] = {}
    for path in paths:
        whole = path.resolve()
        key = whole.with_suffix("") if _SHARD.fullmatch(path.name) else whole
        if key in seen:
            raise InputError(f"{seen[key]} and {path} are one report: give one of them")
        seen[key] = path


def repeated(rows: Sequence[Row]) -> list[str]:
    """Return the files that several rows have, as reports of two systems do; means count each of them."""
    return [name for name, count in Counter(row.name for row in rows).items() if count > 1]


def done_twice(rows: Sequence[Row]) -> list[str]:
    """Return the files of which several rows have one output, as of shards whose inputs changed meanwhile."""
    counts = Counter((row.name, _outputs(row)) for row in rows)
    return [name for (name, outputs), count in counts.items() if count > 1 and outputs]


def _outputs(row: Row) -> tuple[str, ...]:
    """Return the outputs of a row: several where the stems of a job are not scored."""
    outputs = row.facts.get("output") or ()
    return (outputs,) if isinstance(outputs, str) else tuple(outputs)


def are_shards(paths: Sequence[Path]) -> bool:
    """Return whether all reports are of shards of one batch, by their names."""
    names = [_SHARD.fullmatch(path.name) for path in paths]
    return len({name and (name[1], name[3], name[4]) for name in names}) == 1 and names[0] is not None


def missing_shards(paths: Iterable[Path]) -> list[str]:
    """Return the names of missing reports: those of the same shards that the given names' numbers imply."""
    found: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for path in paths:
        match = _SHARD.fullmatch(path.name)
        if match is not None:
            before, number, count, after = match.groups()
            found[(before, count, after)].add(int(number))
    return [
        f"{before}{n:0{len(count)}}-of-{count}{after}"
        for (before, count, after), numbers in found.items()
        for n in range(1, int(count) + 1)
        if n not in numbers
    ]
