"""The task `denoise`: from noisy speech to clean speech."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiotool.errors import PlanError
from audiotool.files.processor import FileProcessor
from audiotool.paths import like_named
from audiotool.tasks.base import Scoring
from audiotool.tasks.inference import Inference, InferenceTask
from audiotool.tasks.options import EnhancementOptions

if TYPE_CHECKING:
    from audiotool.pipeline import Pipeline


@dataclass(frozen=True)
class DenoiseOptions(EnhancementOptions):
    """Options of `denoise`."""

    enroll: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A recording of the one speaker to keep; for checkpoints of personalised models.",
            rich_help_panel="Model",
            show_default=False,
        ),
    ] = None


class Denoise(InferenceTask):
    """Take noise out of speech: files, folders, or a pipe.

    Sample rate, channels, length and sample format stay as they are.
    Above a sample rate of 24 kHz the model is denoise-48k, else denoise-16k.

    audiotool denoise noisy.wav -o clean.wav
    audiotool denoise recordings/ -o cleaned/ --jobs 4 --skip-existing
    sox talk.mp3 -t wav - | audiotool denoise - | aplay
    """

    name = "denoise"
    verb = "denoising"
    done = "denoised"
    options_class = DenoiseOptions
    scoring = Scoring(("pesq", "stoi", "si_sdr", "estoi"), best="pesq")
    example = "noisy"
    options: DenoiseOptions

    def check(self) -> None:
        if self.enrolment is not None and not self.enrolment.is_file():
            raise PlanError(f"no such enrolment: {self.enrolment}")

    def processor(self, checkpoint: str | None) -> FileProcessor:
        if self.enrolment is None:
            return super().processor(checkpoint)
        return PersonalInference.from_options(self.name, self.options, checkpoint, enrolment=self.enrolment)

    @property
    def enrolment(self) -> Path | None:
        """Path of the recording of the speaker to keep, None without one."""
        return None if self.options.enroll is None else like_named(self.options.enroll)


@dataclass(frozen=True)
class PersonalInference(Inference):
    """Inference that keeps one speaker.

    Args:
        enrolment: a recording of that speaker, see `Pipeline.enrol`.
    """

    enrolment: Path = Path()

    def load(self, threads: int | None = None) -> Pipeline:
        pipeline = super().load(threads)
        pipeline.enrol(self.enrolment)
        return pipeline

    def provenance(self) -> dict[str, Any]:
        facts = super().provenance()
        return {**facts, "settings": {**facts["settings"], "enrolment": str(self.enrolment)}}
