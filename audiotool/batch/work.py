"""What is done to a job, in whichever process: load once, process each, score, never raise for a bad file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from audiotool.audio import PIPE
from audiotool.audio.formats import is_mel_name
from audiotool.batch.plan import Job
from audiotool.checkpoint import EngineName
from audiotool.errors import AudiotoolError, InputError
from audiotool.extras import explained
from audiotool.metrics.base import Value
from audiotool.metrics.report import Row
from audiotool.paths import like_named
from audiotool.text import one_line

if TYPE_CHECKING:
    from audiotool.dsp.mel import MelConfig
    from audiotool.files.features import MelAnalysis
    from audiotool.files.processor import FileResult, Progress
    from audiotool.pipeline import Pipeline

log = logging.getLogger(__name__)

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class Work:
    """What every worker needs to know.

    Args:
        task: the task's name.
        checkpoint: a bundled name or a path; None is the task's default.
        device: as `audiotool.load`.
        engine: as `audiotool.load`.
        settings: keywords of `streaming.session.Settings`.
        metrics: names of the scores where a job has references.
        any_order: True when stems are scored in their best order: no name tells them apart.
        enrolment: a recording of the speaker to keep, None for everybody.
        mel: write inputs' mels of this definition, in place of running a model.
        f0: F0 for mel files: a file for one input, a folder of files of the inputs' names for several.
        threads: of one worker; None leaves the engine's own choice.
    """

    task: str
    checkpoint: str | None = None
    device: str = "auto"
    engine: EngineName = "auto"
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    mel: MelConfig | None = None
    f0: str | None = None
    any_order: bool = False
    enrolment: Path | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Args:
        status: "done", "skipped" (its outputs were there), or "failed".
        rows: its lines in the report: one, or where stems were scored one a stem.
        seconds: of audio processed.
        error: why it failed, in one line.
    """

    job: Job
    status: Status
    rows: list[Row]
    seconds: float = 0.0
    error: str | None = None

    @property
    def row(self) -> Row:
        """The first line, which has the notes."""
        return self.rows[0]


def load_pipeline(work: Work) -> Pipeline | MelAnalysis:
    """Load what a worker uses.

    Raises:
        CheckpointError, DeviceError: as `audiotool.load`.
        InputError: the enrolment cannot be used.
    """
    from audiotool.pipeline import load

    if work.mel is not None:
        from audiotool.files.features import MelAnalysis

        return MelAnalysis(work.mel)
    pipeline = load(
        work.checkpoint or work.task,
        work.device,
        work.task,
        engine=work.engine,
        threads=work.threads,
        **work.settings,
    )
    if work.enrolment is not None:
        pipeline.enrol(work.enrolment)
    return pipeline


def do(job: Job, pipeline: Pipeline | MelAnalysis, work: Work, progress: Progress | None = None) -> Outcome:
    """Process one job. Whatever is wrong with it becomes its outcome; interrupts pass."""

    def process() -> tuple[float, list[Row]]:
        result = _process(job, pipeline, work, progress)
        return result.seconds, _rows(job, work, result)

    return _guarded(job, "done", process)


def _process(job: Job, pipeline: Pipeline | MelAnalysis, work: Work, progress: Progress | None) -> FileResult:
    from audiotool.files.features import MelAnalysis, vocode_file

    if not isinstance(pipeline, MelAnalysis) and is_mel_name(job.source):
        chunk = pipeline.settings.chunk_seconds
        return vocode_file(pipeline.engine, job.source, job.target, progress, _f0_of(job, work), chunk)
    if work.f0 is not None:
        raise InputError(f"{job.name} is a recording, in which F0 is tracked: --f0 belongs to mel files")
    return pipeline.process_file(job.source, job.target, progress)


def _f0_of(job: Job, work: Work) -> Path | None:
    if work.f0 is None:
        return None
    place = like_named(Path(work.f0))
    return like_named((place / job.name).with_suffix(".npy")) if place.is_dir() else place


def score_skipped(job: Job, work: Work) -> Outcome:
    """The outcome of a job whose outputs are there already: scored, so that a resumed report is complete."""
    return _guarded(job, "skipped", lambda: (0.0, _rows(job, work, None)))


def failed(job: Job, reason: str) -> Outcome:
    """The outcome of a job that came to nothing."""
    line = one_line(reason)
    return Outcome(
        job,
        "failed",
        [Row(job.name, facts={"status": "failed", "input": str(job.source)}, notes=[line])],
        error=line,
    )


def _guarded(job: Job, status: Status, action: Callable[[], tuple[float, list[Row]]]) -> Outcome:
    try:
        seconds, rows = action()
    except AudiotoolError as error:
        log.debug("%s", job.name, exc_info=True)
        # What a model refuses does not say in which file.
        named = any(str(p) in str(error) for p in (job.source, job.name, *job.target.paths))
        return failed(job, str(error) if named else f"{job.name}: {error}")
    except BrokenPipeError:
        raise
    except Exception as error:
        # A fault of ours in one file must not cost the others.
        log.debug("%s", job.name, exc_info=True)
        missing = explained(error) if isinstance(error, ImportError) else None
        if missing is not None:
            return failed(job, f"{job.name}: {missing}")
        return failed(
            job, f"{job.name}: internal error: {type(error).__name__}: {error} (--debug shows where)"
        )
    outputs = [str(path) for path in (*job.target.stems, job.target.residual) if path is not None]
    places = {"input": str(job.source), "output": outputs if len(outputs) > 1 else outputs[0]}
    for row in rows:
        row.facts = {"status": status, **places, **row.facts}
    return Outcome(job, status, rows, seconds)


def _rows(job: Job, work: Work, result: FileResult | None) -> list[Row]:
    rows = [Row(job.name, {name: Value(None, job.unscored) for name in work.metrics if job.unscored})]
    order: tuple[int, ...] = ()
    if job.references and work.metrics:
        rows, order = _scored(job, work)
    if result is None:
        return rows
    from audiotool.files.processor import Written

    # A job that is not scored has one row for all of its outputs.
    written = [result.outputs[n] for n in order] or [Written(result.peak, result.limited)]
    for row, output in zip(rows, written, strict=True):
        row.facts |= {
            "seconds": round(result.seconds, 3),
            "real_time_factor": round(result.real_time_factor, 2),
            "peak": round(output.peak, 4),
            "limited": output.limited,
        }
        if result.bandwidth_hz is not None:
            row.facts["bandwidth_hz"] = round(result.bandwidth_hz)
    rows[0].notes += result.warnings
    if result.limited:
        rows[0].notes.append(
            f"{result.limited} samples beyond full scale were limited (peak {result.peak:.3f});"
            " a WAV with --subtype FLOAT keeps them"
            + (", and adds up to the input" if job.target.residual is not None else "")
        )
    return rows


def _scored(job: Job, work: Work) -> tuple[list[Row], tuple[int, ...]]:
    """Scores of the outputs beside the input's, one row a reference, and which output each is of."""
    from audiotool.metrics.score import FilePair, best_order, score_pair

    assert str(job.source) != PIPE, "a pipe is never planned with references"
    source = None if is_mel_name(job.source) else Path(job.source)
    # What is left of the input may count as a stem; where it does not, there is no reference for it.
    estimates = job.target.paths[: len(job.references)]
    order = best_order(job.references, estimates) if work.any_order else tuple(range(len(estimates)))
    rows = []
    for reference, n in zip(job.references, order, strict=True):
        name = f"{job.name}: {estimates[n].name}" if len(estimates) > 1 else job.name
        rows.append(score_pair(FilePair(name, reference, estimates[n], source), work.metrics))
        rows[-1].facts = {"output": str(estimates[n]), "reference": str(reference)}
    if list(order) != sorted(order):
        numbers = ", ".join(str(n + 1) for n in order)
        rows[0].notes.append(f"stems reordered to fit their references: {numbers}")
    return rows, order
