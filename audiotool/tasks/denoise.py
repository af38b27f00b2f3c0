"""The task `denoise`: from noisy speech to clean speech."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from audiotool.errors import PlanError
from audiotool.files.processor import FileProcessor
from audiotool.paths import like_named
from audiotool.tasks.base import Scoring
from audiotool.tasks.inference import Inference, InferenceTask
from audiotool.tasks.options import EnhancementOptions


@dataclass(frozen=True, eq=False, repr=False)
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
        return Inference.from_options(self.name, self.options, checkpoint, enrolment=self.enrolment)

    @property
    def enrolment(self) -> Path | None:
        """Path of the recording of the speaker to keep, None without one."""
        return None if self.options.enroll is None else like_named(self.options.enroll)
