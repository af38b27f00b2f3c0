"""`audiotool denoise`: take noise out of speech."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import typer

from audiotool.cli.options import MaxAttenuation, Mix, Residual, TaskOptions, takes
from audiotool.cli.task import run_task

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class DenoiseOptions(TaskOptions):
    """What denoising adds."""

    mix: Mix = 1.0
    max_attenuation: MaxAttenuation = None
    residual: Residual = None

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
    run_task("denoise", options, residual=options.residual)
