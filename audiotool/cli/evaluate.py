"""`audiotool evaluate`: score estimates against their references."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiotool.cli.report import begin, inputs_of, look, page_sound
from audiotool.cli.screen import progress, say, write
from audiotool.cores import core_count
from audiotool.errors import InputError, PlanError, RecipeError
from audiotool.tasks.base import TASKS, Scoring
from audiotool.tasks.options import Jobs, ReportAudio, Reports

if TYPE_CHECKING:
    from audiotool.metrics.rows import Row
    from audiotool.metrics.score import FilePair

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    reference: Annotated[Path, typer.Option(help="Clean file, or folder of them.", show_default=False)],
    estimate: Annotated[
        Path, typer.Option(help="File to score, or folder with the same names below it.", show_default=False)
    ],
    noisy: Annotated[
        Path | None,
        typer.Option(help="Unprocessed file or folder: the improvement is reported.", show_default=False),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Names with commas; the task's unless given.", show_default=False)
    ] = None,
    task: Annotated[str, typer.Option(help="Whose metrics are used.")] = "denoise",
    report: Reports = [],  # noqa: B006 - typer makes a new one
    report_audio: ReportAudio = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw each metric over the input's SNR (with --noisy), as .png, .svg or .pdf.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="REPORT",
            help="A .json report of another system: --plot sets both against each other, file by file.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, not as a table.")
    ] = False,
    jobs: Jobs = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Score files against clean references: PESQ, STOI, SI-SDR and others, a row a file and the mean.

    What a metric cannot score is null, with the reason. The exit code is 1 when a file could not be compared.
    With --task separate, NAME.speaker1, NAME.speaker2 and so on are scored in the order that fits best.
    """
    from audiotool.metrics.score import in_best_order, pair_files
    from audiotool.report.json_document import to_json
    from audiotool.report.report import Report
    from audiotool.report.spool import Spool
    from audiotool.report.write import check_paths, write_reports

    started = begin()
    scoring = _scoring(task)
    names = _metric_names(metrics, scoring)
    try:
        check_paths(report)
        others = _plotted(plot, against)
        pairs = pair_files(reference, estimate, noisy)
    except InputError as error:
        raise PlanError(str(error)) from error
    if scoring.any_order:
        from audiotool.engines.base import are_interchangeable

        pairs = in_best_order(pairs, are_interchangeable)
    rows = _score(pairs, names, jobs or core_count(), quiet)
    found = Report(rows, started.ended())
    sound = page_sound(report, report_audio, inputs_of(rows))
    with Spool(report[0].parent if report else Path()) as spool:
        if sound is not None:
            look(rows, sound, spool, jobs or core_count(), quiet)
        write_reports(report, found, sound)
    if as_json:
        write(to_json(found))
    elif not quiet:
        from audiotool.cli.score_table import print_scores

        print_scores(rows)
    if plot is not None:
        _plot(plot, rows, others, against)
    failures = sum(row.failed for row in rows)
    if failures:
        say(f"{failures} of {len(rows)} files could not be compared")
        raise typer.Exit(1)


def _plotted(plot: Path | None, against: Path | None) -> Sequence[Row]:
    """The rows of the other system; none without one.

    Raises:
        InputError: the plot cannot be written, or the report not be read.
        DependencyError: matplotlib is not installed.
    """
    from audiotool.report.json_document import read_report

    if plot is not None:
        from audiotool.plots.figure import check_path

        check_path(plot)
    elif against is not None:
        raise InputError("--against is for a plot: give --plot FILE")
    return () if against is None else read_report(against).rows


def _plot(path: Path, rows: Sequence[Row], others: Sequence[Row], against: Path | None) -> None:
    from audiotool.plots.figure import save
    from audiotool.plots.scores import plot_against, plot_by_snr

    save(plot_by_snr(rows) if against is None else plot_against(rows, others, against.name), path)


def _scoring(task: str) -> Scoring:
    """How a task's outputs are scored.

    Raises:
        PlanError: there is no such task.
    """
    try:
        return TASKS.get(task).scoring
    except RecipeError as error:
        raise PlanError(str(error)) from error


def _metric_names(metrics: str | None, scoring: Scoring) -> list[str]:
    """The asked names, checked; the task's when none are asked.

    Raises:
        PlanError: unknown or no names.
    """
    from audiotool.metrics.base import METRICS

    if metrics is None:
        return list(scoring.metrics)
    try:
        names = list(dict.fromkeys(name.strip() for name in metrics.split(",") if name.strip()))
        for name in names:
            METRICS.get(name)
    except InputError as error:
        raise PlanError(str(error)) from error
    if not names:
        raise PlanError(f"--metrics names none; known: {', '.join(METRICS.all())}")
    return names


def _score(pairs: Sequence[FilePair], metrics: Sequence[str], jobs: int, quiet: bool) -> list[Row]:
    from audiotool.metrics.score import score_files

    with progress(**({"disable": True} if quiet else {})) as bars:
        bar = bars.add_task("scoring", total=len(pairs))
        return score_files(pairs, metrics, jobs, lambda row: bars.advance(bar))
