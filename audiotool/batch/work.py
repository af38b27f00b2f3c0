"""What is done to a job, in whichever process: load once, process each, score, never raise for a bad file."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from audiotool.audio import PIPE
from audiotool.batch.plan import Job
from audiotool.errors import AudiotoolError
from audiotool.metrics.report import Row

if TYPE_CHECKING:
    from audiotool.pipeline import FileResult, Pipeline, Progress

log = logging.getLogger(__name__)

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class Work:
    """What every worker needs to know.

    Args:
        task: the task's name.
        checkpoint: a bundled name or a path; None is the task's default.
        device: as `audiotool.load`.
        settings: keywords of `streaming.session.Settings`.
        metrics: names of the scores where a job has references.
        threads: of one worker; None leaves torch's own choice.
    """

    task: str
    checkpoint: str | None = None
    device: str = "auto"
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    threads: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Args:
        status: "done", "skipped" (its outputs were there), or "failed".
        row: its line in the report.
        seconds: of audio processed.
        error: why it failed, in one line.
    """

    job: Job
    status: Status
    row: Row
    seconds: float = 0.0
    error: str | None = None


def load_pipeline(work: Work) -> Pipeline:
    """Load the checkpoint a worker uses.

    Raises:
        CheckpointError, DeviceError: as `audiotool.load`.
    """
    import torch

    from audiotool.pipeline import load

    if work.threads is not None:
        torch.set_num_threads(work.threads)
    return load(work.checkpoint or work.task, work.device, work.task, **work.settings)


def do(job: Job, pipeline: Pipeline, work: Work, progress: Progress | None = None) -> Outcome:
    """Process one job. Whatever is wrong with it becomes its outcome; interrupts pass."""

    def process() -> tuple[float, Row]:
        result = pipeline.process_file(job.source, job.target, progress)
        return result.seconds, _row(job, work, result)

    return _guarded(job, "done", process)


def score_skipped(job: Job, work: Work) -> Outcome:
    """The outcome of a job whose outputs are there already: scored, so that a resumed report is complete."""
    return _guarded(job, "skipped", lambda: (0.0, _row(job, work, None)))


def failed(job: Job, reason: str) -> Outcome:
    """The outcome of a job that came to nothing."""
    line = " ".join(reason.split())
    return Outcome(job, "failed", Row(job.name, facts={"status": "failed"}, notes=[line]), error=line)


def _guarded(job: Job, status: Status, action: Callable[[], tuple[float, Row]]) -> Outcome:
    try:
        seconds, row = action()
    except AudiotoolError as error:
        return failed(job, str(error))
    except BrokenPipeError:
        raise
    except Exception as error:
        # A fault of ours in one file must not cost the others.
        log.debug("%s", job.name, exc_info=True)
        return failed(
            job, f"{job.name}: internal error: {type(error).__name__}: {error} (--debug shows where)"
        )
    row.facts = {"status": status, **row.facts}
    return Outcome(job, status, row, seconds)


def _row(job: Job, work: Work, result: FileResult | None) -> Row:
    row = Row(job.name)
    if job.references and work.metrics:
        row = _scored(job, work.metrics)
    if result is None:
        return row
    row.facts.update(
        seconds=round(result.seconds, 3),
        real_time_factor=round(result.real_time_factor, 2),
        peak=round(result.peak, 4),
        limited=result.limited,
    )
    row.notes += result.warnings
    if result.limited:
        row.notes.append(
            f"{result.limited} samples beyond full scale were limited (peak {result.peak:.3f});"
            " --subtype FLOAT keeps them"
        )
    return row


def _scored(job: Job, metrics: tuple[str, ...]) -> Row:
    """Scores of the output beside the input's; of several stems, one set of columns a stem."""
    from audiotool.metrics.score import FilePair, score_pair

    assert str(job.source) != PIPE, "a pipe is never planned with references"
    pairs = zip(job.references, job.target.stems, strict=True)
    rows = [
        score_pair(FilePair(job.name, reference, Path(stem), Path(job.source)), metrics)
        for reference, stem in pairs
    ]
    first = rows[0]
    for other in rows[1:]:
        first.notes += [n for n in other.notes if n not in first.notes]
    if len(rows) > 1:
        first = dataclasses.replace(first, values=_mean(rows, "values"), baseline=_mean(rows, "baseline"))
    return first


def _mean(rows: list[Row], side: str) -> dict[str, Any]:
    """Mean over stems, null where one stem is."""
    from audiotool.metrics.base import Value

    result = {}
    for name in getattr(rows[0], side):
        values = [getattr(row, side)[name] for row in rows]
        null = next((v for v in values if v.value is None), None)
        result[name] = null or Value(sum(v.value for v in values) / len(values))
    return result
