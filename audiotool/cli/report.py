"""`audiotool report`: show and merge reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiotool.cli.named_output import refuse_foreign
from audiotool.cli.report_making import look, page_sound
from audiotool.cli.screen import say, write_document
from audiotool.cli.usage import Group
from audiotool.cores import core_count
from audiotool.errors import as_plan_error
from audiotool.tasks.options import AsJson, Jobs, Quiet, ReportAudio, ReportAudioChoice
from audiotool.text import listed

if TYPE_CHECKING:
    from audiotool.metrics.rows import Row
    from audiotool.report.report import Report

app = typer.Typer(cls=Group, no_args_is_help=True, add_completion=False)

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that exist and are no reports of audiotool.")
]


@app.callback()
def report_() -> None:
    """Look at and listen to results again."""


@app.command("show")
def show(
    source: Annotated[
        Path,
        typer.Argument(metavar="REPORT", help="A report, written as .json or .csv.", show_default=False),
    ],
    output: Annotated[
        list[Path],
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The .html, .md, .csv or .json to write; several times for several.",
            show_default=False,
        ),
    ],
    report_audio: ReportAudio = None,
    overwrite: Overwrite = False,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a page to look at and listen to, or another format, of a report in JSON or CSV.

    The page shows the recordings that the report names, where they still are. A CSV does not hold the facts
    of the run: command, model, machine.

    audiotool report show scores.json -o page.html
    """
    from dataclasses import replace

    from audiotool.report.merge import read_sources
    from audiotool.report.read import check_readable
    from audiotool.report.write import check_paths

    with as_plan_error():
        check_readable(source)
        check_paths(output)
    refuse_foreign(output, [source], overwrite)
    [(_, found)] = read_sources([source])
    found = replace(found, command=found.command or "report show")
    _write(found, output, report_audio, jobs, quiet)
    if as_json:
        write_document("report show", output=[str(path) for path in output], rows=len(found.rows))
    elif not quiet:
        say(f"{_rows(found)}: {', '.join(map(str, output))}")


def _rows(report: Report) -> str:
    count = len(report.rows)
    rest = f" ({report.extent()})" if report.run.is_interrupted else ""
    return f"{count} row{'' if count == 1 else 's'}{rest}"


@app.command("merge")
def merge(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="REPORT...", help="Reports, written as .json or .csv.", show_default=False),
    ],
    output: Annotated[
        list[Path],
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The .html, .json, .csv or .md to write; several times for several.",
            show_default=False,
        ),
    ],
    report_audio: ReportAudio = None,
    overwrite: Overwrite = False,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Join the reports of shards into one, with the means of all rows.

    If reports of shards are missing, or are of shards that were interrupted, they are named, what is there is
    joined, and the exit code is 1. A page shows the recordings that the reports name, where they still are.

    audiotool report merge report-*-of-0064.json -o report.json
    """
    from audiotool.report.merge import (
        are_shards,
        check_distinct,
        done_twice,
        interrupted,
        merged,
        missing_shards,
        read_sources,
        repeated,
    )
    from audiotool.report.read import check_readable
    from audiotool.report.write import check_paths

    with as_plan_error():
        check_paths(output)
        for source in sources:
            check_readable(source)
        check_distinct(sources)
    refuse_foreign(output, sources, overwrite)
    reports = read_sources(sources)
    whole = merged(reports)
    _write(whole, output, report_audio, jobs, quiet)
    missing = missing_shards(reports)
    shared = done_twice(whole.rows) if are_shards(reports) else []
    if missing:
        count = "1 shard has" if len(missing) == 1 else f"{len(missing)} shards have"
        say(f"{count} no report here: {listed(missing)}")
    partial = interrupted(reports)
    if partial:
        say(f"interrupted before its end: {listed(partial)}; --skip-existing does the rest of a shard")
    twice = repeated(whole.rows)
    if shared:
        say(
            f"several shards did {listed(shared)}: the inputs changed between their starts, and others may be"
            " in none. To do these: run the batch once more with --skip-existing, without --shard"
        )
    elif twice:
        verb = "has" if len(twice) == 1 else "have"
        say(
            f"{listed(twice)} {verb} several rows, which all count in the means; `report` tells them apart."
            " To compare two systems: audiotool evaluate --against"
        )
    if as_json:
        paths = [str(path) for path in output]
        found = {"missing": missing, "interrupted": partial, "repeated": twice}
        write_document("report merge", output=paths, rows=len(whole.rows), **found)
    elif not quiet:
        count = f"{len(sources)} report{'' if len(sources) == 1 else 's'}"
        say(f"{_rows(whole)} of {count}: {', '.join(map(str, output))}")
    if missing or partial or shared:
        raise typer.Exit(1)


def _write(
    found: Report,
    outputs: Sequence[Path],
    asked: ReportAudioChoice | None,
    jobs: int,
    quiet: bool,
) -> None:
    """Write a report that was read, with pictures where a page is among them."""
    from audiotool.report.places import missing
    from audiotool.report.spool import Spool
    from audiotool.report.write import write_reports

    sound = page_sound(outputs, asked, _inputs_of(found.rows))
    with Spool(outputs[0].parent) as spool:
        if sound is not None:
            if gone := missing(found.rows):
                say(f"not there, and not in the page: {listed(gone)}")
            look(found.rows, sound, spool, jobs or core_count(), quiet)
        write_reports(outputs, found, sound)


def _inputs_of(rows: Iterable[Row]) -> list[str]:
    """Return the inputs of the rows."""
    places = (row.facts.get(name) for row in rows for name in ("input", "noisy", "estimate"))
    return [place for place in places if isinstance(place, str)]
