"""Tasks that process recordings with the model of a checkpoint."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from audiotool.files.processor import FileProcessor, FileResult, Process
from audiotool.progress import Progress
from audiotool.tasks.base import Task
from audiotool.tasks.load import load
from audiotool.tasks.options import TaskOptions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from typing_extensions import Self

    from audiotool.audio.raw import Raw
    from audiotool.audio.target import Target
    from audiotool.checkpoint import EngineName
    from audiotool.files.kinds import Inputs, Outputs
    from audiotool.pipeline import Pipeline


@dataclass(frozen=True)
class Inference(FileProcessor):
    """Processor that runs the model of a checkpoint over recordings.

    Args:
        task: name of the task; a checkpoint of another task is refused.
        checkpoint: a bundled name or a path; None is the task's default.
        device, engine: as `audiotool.load`.
        settings: keywords of `streaming.session.Settings`.
        raw: format of bare samples in pipes, and in inputs that are named as such; None is WAV.
        enrolment: a recording of the one speaker to keep, see `Pipeline.enrol`; None without one.
    """

    task: str
    checkpoint: str | None = None
    device: str = "auto"
    engine: EngineName = "auto"
    settings: dict[str, Any] = field(default_factory=dict)
    raw: Raw | None = None
    enrolment: Path | None = None

    @classmethod
    def from_options(cls, task: str, options: TaskOptions, checkpoint: str | None, **more: Any) -> Self:
        """Create the processor from a command's options; `more` are fields of subclasses."""
        settings, raw = options.settings(), options.raw_samples()
        return cls(task, checkpoint, options.device, options.engine.value, settings, raw=raw, **more)

    def load(self, threads: int | None = None) -> Pipeline:
        """Load the pipeline; `threads` as for `audiotool.load`.

        Raises:
            CheckpointError, DeviceError, DependencyError: as `audiotool.load`.
        """
        name = self.checkpoint or self.task
        pipeline = load(name, self.device, self.task, engine=self.engine, threads=threads, **self.settings)
        if self.enrolment is not None:
            pipeline.enrol(self.enrolment)
        return pipeline

    def open(self, threads: int | None = None) -> Process:
        from audiotool import named_checkpoints

        pipeline = self.load(threads)
        name_at = functools.cache(lambda sample_rate: named_checkpoints.called(self._path(sample_rate)))

        def process(inputs: Sequence[str | Path], target: Target, progress: Progress | None) -> FileResult:
            result = pipeline.process_file(inputs[0], target, progress, self.raw)
            used = pipeline.at(result.sample_rate)
            made_by = {"model": name_at(result.sample_rate), "checkpoint_sha256": used.checkpoint_sha256}
            return result._replace(made_by=made_by)

        return process

    def _path(self, sample_rate: int = 0) -> Path:
        """Return the path of the checkpoint that serves recordings of a sample rate in Hz."""
        from audiotool import named_checkpoints

        if self.checkpoint is None:
            return named_checkpoints.default_for(self.task, sample_rate)
        return named_checkpoints.resolve(self.checkpoint)

    def uses_gpu(self) -> bool:
        from audiotool import checkpoint

        return self.device != "cpu" and not checkpoint.takes_graph(self._path(), self.device, self.engine)

    def provenance(self) -> dict[str, Any]:
        from audiotool import checkpoint, named_checkpoints

        path = self._path()
        settings = {**self.settings, "enrolment": None if self.enrolment is None else str(self.enrolment)}
        return {
            "model": named_checkpoints.called(path),
            "checkpoint_sha256": checkpoint.sha256(path),
            "licence": checkpoint.read_metadata(path).licence,
            "settings": {name: value for name, value in settings.items() if value is not None},
        }


class InferenceTask(Task):
    """Base class of the tasks that process each recording with the model of a checkpoint."""

    def inputs(self) -> Inputs:
        from audiotool.files.kinds import Inputs

        return Inputs()

    def outputs(self, checkpoint: str | None) -> Outputs:
        from audiotool.files.kinds import Outputs

        return Outputs(self.done)

    def processor(self, checkpoint: str | None) -> FileProcessor:
        return Inference.from_options(self.name, self.options, checkpoint)
