"""`audiotool evaluate`: score estimates, with or without references."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiotool.atomic import write_text
from audiotool.cli import screen, tasks
from audiotool.cli.metric_options import (
    Threshold,
    check_installed,
    check_references,
    chosen_metrics,
    failures,
)
from audiotool.cli.named_output import refuse_existing, refuse_foreign
from audiotool.cli.progress import Events
from audiotool.cli.report_making import begin, look, page_sound
from audiotool.cli.screen import say
from audiotool.cli.unwritten import Unwritten
from audiotool.cores import core_count
from audiotool.errors import InputError, PlanError, as_plan_error
from audiotool.paths import Folders, clash, refuse_url
from audiotool.signals import HANG_UP, deferred
from audiotool.tasks import completion
from audiotool.tasks.base import TASKS, Scoring
from audiotool.tasks.options import AsJson, Jobs, ProgressChoice, ProgressKind, Quiet, ReportAudio, Reports
from audiotool.writable import check_writable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from audiotool.metrics.pairing import FilePair
    from audiotool.metrics.rows import Row

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    estimate: Annotated[
        Path | None,
        typer.Option(help="File to score, or folder with the same names below it.", show_default=False),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Clean file or folder; without it non-intrusive metrics are scored.",
            show_default=False,
        ),
    ] = None,
    noisy: Annotated[
        Path | None,
        typer.Option(
            help="Unprocessed file or folder: the change of scores is reported.", show_default=False
        ),
    ] = None,
    listed: Annotated[
        str | None,
        typer.Option(
            "--list",
            metavar="FILE",
            help="In place of the three: a CSV with the columns output (the scored file), and if known"
            " reference and input (unprocessed); '-' reads it from standard input.",
            show_default=False,
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Names with commas; the task's unless given.",
            show_default=False,
            autocompletion=completion.metrics,
        ),
    ] = None,
    task: Annotated[
        str, typer.Option(help="Task whose metrics are used.", autocompletion=tasks.names)
    ] = "denoise",
    fail_under: Annotated[
        list[str],
        typer.Option(
            metavar="METRIC=NUMBER",
            help="A file whose score is worse or missing is a failure: pesq=2.5; several times for several.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer makes a new one
    report: Reports = [],  # noqa: B006
    report_audio: ReportAudio = None,
    plot: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE",
            help="Draw each metric over the input's SNR (with --noisy), as .png, .svg or .pdf; several times"
            " for several.",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="REPORT",
            help="A .json or .csv report of another system: paired differences on the files that both have,"
            " on the screen and in reports but .csv; --plot draws one over the other.",
            show_default=False,
        ),
    ] = None,
    frames: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write scores over time (MAPSS), one line for each file and frame, as .csv.",
            show_default=False,
        ),
    ] = None,
    mapss_backbone: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            envvar="AUDIOTOOL_MAPSS_BACKBONE",
            help="Folder of wav2vec 2.0 Large, for --metrics mapss; nothing is downloaded.",
            show_default=False,
            show_envvar=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace plots and scores over time, and files that are no reports of audiotool.",
        ),
    ] = False,
    as_json: AsJson = False,
    progress: ProgressChoice = ProgressKind.auto,
    jobs: Jobs = 1,
    quiet: Quiet = False,
) -> None:
    """Score files against clean references: PESQ, STOI, SI-SDR and others, for each file, and the mean.

    Without references, DNSMOS, PLCMOS and loudness are scored. What a metric cannot score is null, with the
    reason. The exit code is 1 when a file could not be compared, or does not reach --fail-under. With --task
    separate, NAME.speaker1, NAME.speaker2 and so on, or speaker1/NAME, are scored in the order that fits
    best.
    """
    from audiotool.report.comparison import compare
    from audiotool.report.csv_table import curves_to_csv
    from audiotool.report.json_document import to_json
    from audiotool.report.report import Report
    from audiotool.report.spool import Spool
    from audiotool.report.write import check_paths, write_reports

    started = begin()
    if mapss_backbone is not None:
        # Worker processes read it from the environment, like the path of the interpreter.
        os.environ["AUDIOTOOL_MAPSS_BACKBONE"] = str(mapss_backbone)
    scoring = TASKS.get(task).scoring
    pairs = _pairs(reference, estimate, noisy, listed, scoring)
    references = [pair.reference for pair in pairs if pair.reference]
    has_reference = bool(references)
    names = chosen_metrics(metrics, scoring.metrics, has_reference, references)
    thresholds = _thresholds(fail_under, has_reference, any(pair.noisy for pair in pairs))
    check_installed([t.metric for t in thresholds], references)
    names += [t.metric for t in thresholds if t.metric not in names]
    with as_plan_error():
        check_paths(report)
        _check_shown(plot, against, report, pairs, on_screen=as_json or not quiet)
        others = _others(against, pairs, names)
        _check_frames(frames, names, report)
    others_written = [*plot, *([frames] if frames is not None else [])]
    for path in others_written:
        refuse_existing(path, overwrite)
    used = (place for pair in pairs for place in (pair.estimate, pair.reference, pair.noisy))
    refuse_foreign([*report, *others_written], [listed, against, *used], overwrite)
    events = Events("evaluate", len(pairs)) if progress is ProgressKind.json else None
    sound = page_sound(report, report_audio, _inputs(pairs))
    unwritten = Unwritten()

    def reported(rows: Sequence[Row]) -> Report:
        """Write the reports and the scores over time; return the report."""
        missed = failures(rows, thresholds) if thresholds else None
        comparison = None if against is None else compare(rows, others, str(against))
        run = replace(started.ended(), planned=len(pairs), finished=len(rows))
        made = Report(rows, run, "evaluate", missed, comparison)
        with unwritten.held_back():
            write_reports(report, made, sound)
        if frames is not None:
            with unwritten.held_back():
                write_text(frames, curves_to_csv(rows))
        return made

    finished: list[Row] = []
    with Spool(report[0].parent if report else Path()) as spool:
        try:
            rows = _score(pairs, names, jobs or core_count(), quiet, events, finished)
            if sound is not None:
                look(rows, sound, spool, jobs or core_count(), quiet)
            found = reported(rows)
        except BaseException:
            # Scores take time. Those that are there are kept, unless Ctrl-C comes again.
            if finished:
                with deferred(signal.SIGTERM, *HANG_UP):
                    reported(_in_order(finished, pairs))
                    unwritten.say()
                    if events is None:
                        say(f"{len(finished)} of {len(pairs)} files are scored")
            raise
    with unwritten.held_back():
        if as_json:
            screen.write(to_json(found), is_json=True)
        elif not quiet:
            from audiotool.cli.score_table import print_comparison, print_scores

            print_scores(rows)
            if found.comparison is not None:
                print_comparison(found.comparison)
    if plot:
        from audiotool.plots.figure import save

        with unwritten.held_back():
            figure = _figure(rows, others, against)
            for path in plot:
                with unwritten.held_back():
                    save(figure, path)
    is_good = _judge(rows, found.failures or ())
    unwritten.raise_any()
    if not is_good:
        raise typer.Exit(1)


def _check_frames(path: Path | None, names: Sequence[str], report: Sequence[Path]) -> None:
    """Check the path of the scores over time before any work is done.

    Raises:
        InputError: the path is no .csv, that of a report, or cannot be written, or no metric has scores over
            time.
    """
    from audiotool.metrics.base import METRICS, JointMetric

    if path is None:
        return
    if path.suffix.lower() != ".csv":
        raise InputError(f"--frames {path}: scores over time are written as .csv")
    if clash((*report, path)) is not None:
        raise InputError(f"{path}: a report and scores over time cannot be one file")
    check_writable(path)
    if not any(issubclass(METRICS.get(name), JointMetric) for name in names):
        raise InputError("--frames is for scores over time: --task separate --metrics mapss has them")


def _check_shown(
    plot: Sequence[Path],
    against: Path | None,
    report: Sequence[Path],
    pairs: Sequence[FilePair],
    on_screen: bool,
) -> None:
    """Check that something shows the other system, and that the plots can be drawn.

    Raises:
        InputError: nothing does, a plot cannot be written, or no pair has what is drawn.
        DependencyError: matplotlib is not installed.
    """
    if plot:
        from audiotool.plots.figure import check_paths

        check_paths(plot)
        if against is None and not any(pair.reference and pair.noisy for pair in pairs):
            raise InputError("--plot draws scores over the input's SNR: give --reference and --noisy")
    elif against is not None and not on_screen and all(path.suffix.lower() == ".csv" for path in report):
        raise InputError(
            "--quiet hides what --against compares: leave it out, or give --plot FILE or a --report but .csv"
        )


def _others(against: Path | None, pairs: Sequence[FilePair], names: Sequence[str]) -> Sequence[Row]:
    """Return the rows of the other system, an empty sequence without one.

    Raises:
        InputError: the report cannot be read, it or what is scored has several rows of a file, or they have
            nothing in common.
    """
    from audiotool.metrics.rows import Row, of_one_file
    from audiotool.metrics.score_files import places_of
    from audiotool.report.merge import repeated
    from audiotool.report.read import read_report
    from audiotool.text import listed

    if against is None:
        return ()
    others = read_report(against).rows
    twice = repeated(others)
    if twice:
        raise InputError(f"{against.name} has several rows of {listed(twice)}: give the report of one system")
    own = [Row(pair.name, facts=places_of(pair)) for pair in pairs]
    twice = repeated(own)
    if twice:
        raise InputError(f"--against compares a file once, and several rows are of {listed(twice)}")
    both = of_one_file(others, own)
    if not both:
        raise InputError(
            f"{against.name} has none of these files; rows are matched by names, references and inputs"
        )
    if not any(name in other.values for other, _ in both for name in names):
        raise InputError(f"{against.name} has none of these metrics: {', '.join(names)}")
    return others


def _figure(rows: Sequence[Row], others: Sequence[Row], against: Path | None) -> Figure:
    from audiotool.plots.scores import plot_against, plot_by_snr

    return plot_by_snr(rows) if against is None else plot_against(rows, others, against.name)


def _judge(rows: Sequence[Row], missed: Sequence[Mapping[str, Any]]) -> bool:
    """Print the failures after everything else; return whether there are none."""
    for failure in missed:
        say(f"{failure['file']}: {failure['reason']}")
    if missed:
        files = {failure["file"] for failure in missed}
        say(f"{len(files)} of {len(rows)} files do not reach --fail-under")
    failed = sum(row.failed for row in rows)
    if failed:
        say(f"{failed} of {len(rows)} files could not be compared")
    return not missed and not failed


def _pairs(
    reference: Path | None, estimate: Path | None, noisy: Path | None, listed: str | None, scoring: Scoring
) -> list[FilePair]:
    """Return the files to compare.

    Raises:
        PlanError: files are missing, or do not match each other.
    """
    from audiotool.metrics.pairing import pair_files, pair_stems

    if listed is not None:
        if any((reference, estimate, noisy)):
            raise PlanError("--list names what --estimate, --reference and --noisy would")
        pairs = _listed_pairs(listed)
        return pair_stems(pairs) if scoring.any_order else pairs
    if estimate is None:
        raise PlanError("say what to score: --estimate FILE or FOLDER, or --list FILE")
    with as_plan_error():
        return pair_files(reference, estimate, noisy, of_stems=scoring.any_order)


def _listed_pairs(listed: str) -> list[FilePair]:
    """Return the pairs of a list, in its order.

    Raises:
        PlanError: the file is no list, or a line names nothing to score or what another line does.
    """
    from audiotool.batch.listing import read_list
    from audiotool.metrics.pairing import FilePair

    pairs = []
    folders = Folders()
    lines: dict[tuple[str | None, ...], int] = {}
    for entry in read_list(listed, required="output"):
        if entry.output is None:
            raise PlanError(
                f"{entry.place}: a list to score is a CSV whose first line names the column output"
            )
        places = (entry.input, entry.output, entry.reference)
        for place in places:
            refuse_url(place, f"{entry.place}: a file to score has a path")
        # Means would count it twice.
        first = lines.setdefault(tuple(place and folders.real(place) for place in places), entry.line)
        if first != entry.line:
            raise PlanError(f"{entry.place} is line {first} once more: list what is scored once")
        reference = Path(entry.reference) if entry.reference else None
        noisy = Path(entry.input) if entry.input else None
        pairs.append(FilePair(entry.output, reference, Path(entry.output), noisy))
    return pairs


def _thresholds(asked: Sequence[str], has_reference: bool, has_noisy: bool) -> list[Threshold]:
    """Return the thresholds of --fail-under.

    Raises:
        PlanError: a metric is unknown, or needs a reference or an unprocessed input that is not given.
    """
    thresholds = [Threshold.parse(text) for text in asked]
    check_references([t.metric for t in thresholds], has_reference)
    for threshold in thresholds:
        if threshold.column != threshold.metric and not has_noisy:
            raise PlanError(f"{threshold.column} is a difference from the unprocessed input: give --noisy")
    return thresholds


def _score(
    pairs: Sequence[FilePair],
    metrics: Sequence[str],
    jobs: int,
    quiet: bool,
    events: Events | None,
    finished: list[Row],
) -> list[Row]:
    """Return the rows in the order of the pairs; `finished` gets each as it is scored."""
    from audiotool.metrics.score_many import score_many

    with _watcher(len(pairs), quiet, events) as watch:

        def scored(row: Row) -> None:
            finished.append(row)
            watch(row)

        return score_many(pairs, metrics, jobs, scored)


@contextlib.contextmanager
def _watcher(total: int, quiet: bool, events: Events | None) -> Iterator[Callable[[Row], None]]:
    """Yield what shows each scored row: events, or a bar."""
    if events is not None:
        with events:
            yield events.scored
    else:
        with screen.progress(quiet=quiet) as bars:
            bar = bars.add_task("scoring", total=total)
            yield lambda row: bars.advance(bar)


def _in_order(rows: Sequence[Row], pairs: Sequence[FilePair]) -> list[Row]:
    """Return rows in the order of the pairs."""
    places = {pair.name: n for n, pair in enumerate(pairs)}
    return sorted(rows, key=lambda row: places[row.name])


def _inputs(pairs: Sequence[FilePair]) -> Iterator[Path]:
    """Yield the files whose size decides whether a page has their sound."""
    for pair in pairs:
        yield from (path for path in (pair.noisy, pair.estimate) if path is not None)
