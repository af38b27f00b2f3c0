"""Do a job in any process: process and score it. A bad file becomes a failed outcome, never an exception."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from audiotool.atomic import claimed
from audiotool.audio import PIPE
from audiotool.batch.changes import Versions
from audiotool.batch.existing import is_done, part_kept, there
from audiotool.batch.job import Job
from audiotool.batch.staging import staged
from audiotool.errors import AudiotoolError, InputError
from audiotool.extras import explained
from audiotool.files.processor import FileProcessor, FileResult, Process, Written
from audiotool.metrics.rows import NOT_FETCHED, REFERENCE_RATE, Row, without_ending
from audiotool.metrics.values import Value
from audiotool.paths import Folders, is_url
from audiotool.progress import Progress
from audiotool.signals import RAISED
from audiotool.tasks.base import Scoring
from audiotool.text import listed, one_line, without_credentials

if TYPE_CHECKING:
    from audiotool.report.gallery import Sound

log = logging.getLogger(__name__)

Status = Literal["done", "skipped", "failed"]

INTERRUPTED = "interrupted"
"""Reason of the scores of outputs that were there when a request to end came, and not scored yet."""


class Work(NamedTuple):
    """The settings of all workers of a batch.

    Args:
        processor: processes an input.
        scoring: settings of the scores of outputs; None computes no scores. Jobs without references are
            scored by the metrics that need none.
        threads: threads of one worker; None is the engine's default.
        sound: storage of the sound of the report's page; None without a page.
        settings: options of the streams, as reports have them; None without a report.
    """

    processor: FileProcessor
    scoring: Scoring | None = None
    threads: int | None = None
    sound: Sound | None = None
    settings: Mapping[str, Any] | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return () if self.scoring is None else self.scoring.metrics

    @property
    def looks_at_outputs(self) -> bool:
        """Whether outputs are read again, to be scored or for the report's page."""
        return bool(self.metrics) or self.sound is not None


class Outcome(NamedTuple):
    """The result of a job.

    Args:
        status: "done", "skipped" (its outputs were there, or another process was writing them), or "failed".
        rows: its rows in the report: one, or one a stem where stems were scored.
        seconds: seconds of audio that were processed.
        error: reason why it failed, or was skipped without outputs, in one line.
        request: request to end that came when its outputs were there; whoever passes the outcome on raises it
            afterwards.
    """

    job: Job
    status: Status
    rows: list[Row]
    seconds: float = 0.0
    error: str | None = None
    request: BaseException | None = None

    @property
    def row(self) -> Row:
        """The first row, which has the notes."""
        return self.rows[0]

    @property
    def is_left(self) -> bool:
        """Whether it was left to another process, of which nothing tells that its outputs will be there."""
        return self.status == "skipped" and self.error is not None


def do(job: Job, process: Process, work: Work, progress: Progress | None = None) -> Outcome:
    """Do one job with an opened processor. Every exception becomes a failed outcome, except requests to end.
    One that comes when the outputs are there is part of the outcome.

    Outputs that have appeared since the job was planned, of another batch for example, count as those that
    were there before. Where they are skipped, those that another process is writing are left to it.
    """
    if job.existing != "skip":
        return _do(job, process, work, progress)
    with contextlib.ExitStack() as claims:
        # Before an output is opened, its input is read and a model is warmed up.
        if not all(claims.enter_context(claimed(path)) for path in job.target.paths):
            return _left_to_another(job)
        return _do(job, process, work, progress)


def _do(job: Job, process: Process, work: Work, progress: Progress | None) -> Outcome:
    if job.existing != "overwrite":
        try:
            found = there(job, Folders())
        except AudiotoolError as error:
            return failed(job, str(error))
        if found and job.existing == "refuse":
            return failed(job, f"{listed(found)} was not there when the batch began, and is kept")
        if found and is_done(job, found):
            return score_skipped(job, work)
        kept = part_kept(job, found)
        if kept:
            return failed(job, kept)

    request: BaseException | None = None

    def action() -> tuple[float, list[Row]]:
        nonlocal request
        with staged(job) as local:
            versions = Versions(local.inputs)
            result = process(local.inputs, local.target, progress)
            changed = versions.changed()
            if changed:
                versions.make_older(local.target.paths)
                note = f"{listed(changed)} changed while it was read, and its output may be incomplete"
                if any(map(is_url, job.target.places)):
                    # A store has its own times: what is not sent is done again by --skip-existing.
                    raise InputError(f"{note}: nothing is sent; do it again")
                result = result._replace(warnings=(*result.warnings, f"{note}: do it again"))
            else:
                versions.make_no_older(local.target.paths)
            rows, request = _told(local, work, result)
            if request is not None and any(map(is_url, job.target.places)):
                raise request  # nothing is sent
        if job.is_remote:
            for row in rows:
                row.media = row.media and row.media.without_paths()
        named = dict(zip(local.target.places, job.target.places, strict=True))
        for row in rows:
            if "output" in row.facts:
                row.facts["output"] = named[row.facts["output"]]
        return result.seconds, rows

    return _outcome_of(job, "done", action)._replace(request=request)


def score_skipped(job: Job, work: Work) -> Outcome:
    """Return the outcome of a job whose outputs exist. They are scored, so that a resumed report is complete.

    Outputs in an object store are not fetched for that.
    """
    references = job.references if job.is_remote else ()
    if references:
        job = job._replace(references=(), unscored=NOT_FETCHED)

    def action() -> tuple[float, list[Row]]:
        rows = _rows(job, work, None)
        if len(references) == 1:
            # An earlier report may have the scores against this reference.
            rows[0].facts["reference"] = str(references[0])
        if not job.is_remote:
            differences = work.processor.differences(job.target)
            rows[0].notes += differences
            rows[0].run_notes += differences
            _add_media(rows, job, work)
        return 0.0, rows

    return _outcome_of(job, "skipped", action)


def _left_to_another(job: Job) -> Outcome:
    """Return the outcome of a job that another process is doing."""
    note = f"{job.name}: left to another process, which is writing its output"
    row = Row(job.name, facts={"status": "skipped", **_places(job)}, notes=[note], run_notes=[note])
    return Outcome(job, "skipped", [row], error=note)


def failed(job: Job, reason: str) -> Outcome:
    """Return the outcome of a job that failed."""
    line = one_line(reason)
    row = Row(job.name, facts={"status": "failed", "input": str(job.source)}, notes=[line])
    return Outcome(job, "failed", [row], error=line)


def _add_media(rows: Sequence[Row], job: Job, work: Work) -> None:
    """Add pictures and sound for the report's page to the rows, after each job."""
    if work.sound is None:
        return
    from audiotool.report.media import make_media

    for row in rows:
        facts = {"settings": work.settings, **_places(job), **row.facts}
        row.media = make_media(replace(row, facts=facts), work.sound == "embed")


def _places(job: Job) -> dict[str, Any]:
    """Return the paths of a job's input and outputs, as reports have them."""
    *stems, last = job.target.places
    if job.target.residual is None:
        stems, residual = [*stems, last], {}
    else:
        residual = {"residual": last}
    return {
        "input": str(job.source),
        "output": stems if len(stems) > 1 else stems[0],
        **residual,
    }


def _outcome_of(job: Job, status: Status, action: Callable[[], tuple[float, list[Row]]]) -> Outcome:
    try:
        seconds, rows = action()
    except AudiotoolError as error:
        log.debug("%s", job.name, exc_info=True)
        # The error of a model does not name the file.
        text = str(error)
        places = (without_credentials(str(p)) for p in (job.source, job.name, *job.target.places))
        named = any(place in text for place in places)
        return failed(job, text if named else f"{job.name}: {text}")
    except BrokenPipeError:
        raise
    except Exception as error:
        # An error of audiotool itself in one file must not stop the others.
        log.debug("%s", job.name, exc_info=True)
        missing = explained(error, f"{job.name}:") if isinstance(error, ImportError) else None
        if missing is not None:
            return failed(job, str(missing))
        return failed(
            job, f"{job.name}: internal error: {type(error).__name__}: {error} (--debug shows where)"
        )
    for row in rows:
        # Outputs are there, whether or not they could be scored.
        row.failed = False
        row.facts = {"status": status, **_places(job), **row.facts}
    return Outcome(job, status, rows, seconds)


def _told(job: Job, work: Work, result: FileResult) -> tuple[list[Row], BaseException | None]:
    """Return the rows of a job whose outputs are there, and the request to end that came before they were
    scored and drawn, if one came."""
    rows: list[Row] = []
    try:
        rows = _rows(job, work, result)
        _add_media(rows, job, work)
    except RAISED as request:
        return rows or _rows(job, work, result, INTERRUPTED), request
    return rows, None


def _rows(job: Job, work: Work, result: FileResult | None, interrupted: str = "") -> list[Row]:
    """Return the rows of a job: scored, or with the reason why it was interrupted before."""
    reason = interrupted or job.unscored
    rows = [Row(job.name, {name: Value(None, reason) for name in work.metrics if reason})]
    order: tuple[int, ...] = ()
    if not interrupted and (job.references or _is_rated(job, work)):
        rows, order = _scored(job, work)
    if result is None:
        return rows
    # A job that is not scored has one row for all of its stems.
    stems = result.outputs[: len(job.target.stems)]
    together = Written(max(stem.peak for stem in stems), sum(stem.limited for stem in stems))
    written = [result.outputs[n] for n in order] or [together]
    for row, output in zip(rows, written, strict=True):
        row.facts |= {
            "seconds": round(result.seconds, 3),
            "elapsed_seconds": round(result.elapsed_s, 3),
            "sample_rate": result.sample_rate,
            "channels": result.channels,
            "real_time_factor": round(result.real_time_factor, 2),
            "peak": float(f"{output.peak:.4g}"),
            "limited": output.limited,
            **(result.made_by or {}),
        }
        if result.bandwidth_hz is not None:
            row.facts["bandwidth_hz"] = round(result.bandwidth_hz)
        if result.input_peak is not None:
            row.facts["input_peak"] = float(f"{result.input_peak:.4g}")
    rows[0].notes += result.warnings
    if result.limited:
        from audiotool.audio.levels import limited_words  # not in the process that plans

        rows[0].notes.append(
            f"{limited_words(result.limited, result.peak)}; a WAV with --subtype FLOAT keeps them"
            + (", and adds up to the input" if job.target.residual is not None else "")
        )
    return rows


def _is_rated(job: Job, work: Work) -> bool:
    """Return whether a job's outputs are on this machine and are scored without references."""
    if not work.metrics or job.is_remote:
        return False
    from audiotool.metrics.base import METRICS

    return any(not METRICS.get(name).needs_reference for name in work.metrics)


def _scored(job: Job, work: Work) -> tuple[list[Row], tuple[int, ...]]:
    """Score the outputs and the input: one row an output, and the output of each row."""
    from audiotool.audio.formats import is_bare_name
    from audiotool.metrics.base import METRICS
    from audiotool.metrics.pairing import FilePair
    from audiotool.metrics.score_files import score_stems, stem_facts

    assert str(job.source) != PIPE, "a pipe is never planned with scores"
    is_bare = is_bare_name(job.source)
    source = Path(job.source) if work.processor.is_recording(job.source) and not is_bare else None
    references: tuple[Path | None, ...] = job.references or (None,) * len(job.target.stems)
    # The rest of the input may be a stem with a reference; otherwise it is not scored.
    estimates = job.target.paths[: len(references)]
    assert work.scoring is not None
    order = work.scoring.order(job.references, estimates)
    stems = []
    for m, (reference, n) in enumerate(zip(references, order, strict=True)):
        name, mixture, stem = job.name, "", ""
        if len(estimates) > 1:
            name = f"{job.name}: {estimates[n].name}"
            mixture, stem = without_ending(job.name), estimates[m].stem.rpartition(".")[2]
        others = job.references[:m] + job.references[m + 1 :]
        stems.append(FilePair(name, reference, estimates[n], source, others, mixture, stem))
    rows = score_stems(stems, work.metrics)
    for row, files in zip(rows, stems, strict=True):
        rate = row.facts.get(REFERENCE_RATE)
        row.facts = {"output": str(files.estimate), **stem_facts(files)}
        if rate is not None:
            row.facts[REFERENCE_RATE] = rate
        if files.reference is not None:
            row.facts["reference"] = str(files.reference)
        elif job.unscored:
            compared = [name for name in row.values if METRICS.get(name).needs_reference]
            row.values |= {name: Value(None, job.unscored) for name in compared}
    if is_bare and source is None and job.references:
        rows[0].notes.append("the input itself is not scored: it holds bare samples")
    if list(order) != sorted(order):
        numbers = ", ".join(str(n + 1) for n in order)
        rows[0].notes.append(f"stems reordered to fit their references: {numbers}")
    for row in rows:
        if job.references and job.unscored:
            row.notes.append(job.unscored)
        row.run_notes = list(row.notes)
    return rows, order
