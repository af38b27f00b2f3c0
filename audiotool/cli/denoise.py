"""`audiotool denoise`: take noise out of speech."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from audiotool.cli.options import MaxAttenuation, Mix, Residual, TaskOptions, takes
from audiotool.cli.task import run_task
from audiotool.errors import PlanError
from audiotool.paths import like_named

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class DenoiseOptions(TaskOptions):
    """What denoising adds."""

    mix: Mix = 1.0
    max_attenuation: MaxAttenuation = None
    residual: Residual = None
    enroll: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A recording of the one speaker to keep; for checkpoints of personalised models.",
            rich_help_panel="Model",
            show_default=False,
        ),
    ] = None

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "mix": self.mix, "max_attenuation_db": self.max_attenuation}


@app.command()
@takes(DenoiseOptions)
def denoise(options: DenoiseOptions) -> None:
    """Take noise out of speech: files, folders, or a pipe.

    Sample rate, channels, length and sample format stay as they are.

    audiotool denoise noisy.wav -o clean.wav
    audiotool denoise recordings/ -o cleaned/ --jobs 4 --skip-existing
    sox talk.mp3 -t wav - | audiotool denoise - | aplay
    """
    enrolment = None if options.enroll is None else like_named(options.enroll)
    if enrolment is not None and not enrolment.is_file():
        raise PlanError(f"no such enrolment: {enrolment}")
    run_task("denoise", options, residual=options.residual, work_changes={"enrolment": enrolment})
