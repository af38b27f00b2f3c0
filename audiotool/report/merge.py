"""Join the reports of shards to one."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from audiotool.errors import InputError
from audiotool.metrics.rows import Row
from audiotool.report.places import locate, recordings
from audiotool.report.read import read_report
from audiotool.report.report import COUNTS, Report, Run

# Names and reports from outside may give any number of shards; all missing ones are listed.
_NAMED = re.compile(r"(.*?)(\d+)-of-(\d{1,6})(?!\d)(.*)")
_TOLD = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)


class Source(NamedTuple):
    """A report and its path."""

    path: Path
    report: Report


class _Batch(NamedTuple):
    """A batch of which there are shards.

    Args:
        before, between, after: the words around the two numbers in the names of its reports.
        total: number of shards, as the names have it.
        maker: command and model, where the names say nothing and JSON does.
    """

    before: str
    between: str
    total: str
    after: str
    maker: tuple[str | None, ...] = ()

    def name(self, number: int) -> str:
        """Return the name of a shard's report, or "shard 03/64"."""
        return f"{self.before}{number:0{len(self.total)}}{self.between}{self.total}{self.after}"


def read_sources(paths: Sequence[Path]) -> list[Source]:
    """Read reports; their paths lead to the recordings from here, see `report.places`.

    Raises:
        InputError: one of the files cannot be read or is no report.
    """
    sources = [Source(path, read_report(path)) for path in paths]
    for path, report in sources:
        locate(report.rows, path.parent)
    return sources


def merged(sources: Sequence[Source]) -> Report:
    """Return a report of all rows; means are computed when it is written.

    Rows are in the order of the reports, those of shards of one batch in the order of the whole batch.

    Facts of the run that all reports share are kept. If several rows are of one file, as in the reports of
    two systems, every row says which report it comes from.
    """
    reports = [source.report for source in sources]
    rows = [row for report in reports for row in report.rows]
    if repeated(rows):
        for path, report in sources:
            for row in report.rows:
                # A report that was merged before has named its own.
                row.facts.setdefault("report", str(path))
    if are_shards(sources):
        rows.sort(key=_place_in_batch)
    return Report(rows, _common([report.run for report in reports]), reports[0].command or "report merge")


def interrupted(sources: Iterable[Source]) -> list[str]:
    """Return the paths of the reports of commands that were interrupted. Of a CSV it is not known."""
    return [str(source.path) for source in sources if source.report.run.is_interrupted]


def _common(runs: Sequence[Run]) -> Run:
    """Return what runs have in common, and the sums of their files."""
    first = runs[0]
    unlike = [
        f.name for f in fields(Run) if any(getattr(run, f.name) != getattr(first, f.name) for run in runs)
    ]
    unknown = Run(version=None)
    facts: dict[str, Any] = {name: getattr(unknown, name) for name in unlike}
    facts |= {name: _sum(getattr(run, name) for run in runs) for name in COUNTS}
    return replace(first, **facts)


def _sum(counts: Iterable[int | None]) -> int | None:
    """Return the sum of counts, None if one is not known."""
    known = list(counts)
    return None if None in known else sum(filter(None, known))


def check_distinct(paths: Sequence[Path]) -> None:
    """Check that no report is given twice, and no shard in two formats: their rows would count twice.

    Raises:
        InputError: names the two paths.
    """
    seen: dict[Path, Path] = {}
    for path in paths:
        whole = path.resolve()
        key = whole.with_suffix("") if _NAMED.fullmatch(path.name) else whole
        if key in seen:
            raise InputError(f"{seen[key]} and {path} are one report: give one of them")
        seen[key] = path


def repeated(rows: Sequence[Row]) -> list[str]:
    """Return the files that several rows have, as reports of two systems do; means count each of them."""
    return [name for name, count in Counter(row.name for row in rows).items() if count > 1]


def done_twice(rows: Sequence[Row]) -> list[str]:
    """Return the files of which several rows have one output, as of shards whose inputs changed meanwhile."""
    counts = Counter((row.name, tuple(recordings(row, "output"))) for row in rows)
    return [name for (name, outputs), count in counts.items() if count > 1 and outputs]


def _place_in_batch(row: Row) -> tuple[str, tuple[str, ...]]:
    """Return what sorts rows as a batch does: by the names and outputs of jobs. Rows of scored stems, which
    have their output behind the job's name, stay in their order."""
    outputs = tuple(recordings(row, "output"))
    stem = f": {Path(outputs[0]).name}" if len(outputs) == 1 else ""
    if stem and row.name.endswith(stem):
        return row.name.removesuffix(stem), ()
    return row.name, outputs


def are_shards(sources: Sequence[Source]) -> bool:
    """Return whether all reports are of shards of one batch."""
    shards = [_shard(source) for source in sources]
    return len({shard and shard[0] for shard in shards}) == 1 and shards[0] is not None


def missing_shards(sources: Iterable[Source]) -> list[str]:
    """Return the names of missing reports, of the same batches as the given ones; "shard 03/64" where those
    have names of their own."""
    found: dict[_Batch, set[int]] = defaultdict(set)
    for shard in filter(None, map(_shard, sources)):
        found[shard[0]].add(shard[1])
    return [
        batch.name(n)
        for batch, numbers in found.items()
        for n in range(1, int(batch.total) + 1)
        if n not in numbers
    ]


def _shard(source: Source) -> tuple[_Batch, int] | None:
    """Return the batch and the number of a shard's report; None for any other report."""
    named = _NAMED.fullmatch(source.path.name)
    if named is not None:
        before, number, count, after = named.groups()
        return _Batch(before, "-of-", count, after), int(number)
    run = source.report.run
    told = _TOLD.fullmatch(run.shard or "")
    if told is None:
        return None
    return _Batch("shard ", "/", told[2], "", (source.report.command, run.model)), int(told[1])
