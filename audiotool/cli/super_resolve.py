"""`audiotool super-resolve`: restore the band above what a recording holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from audiotool.cli.options import TaskOptions, takes
from audiotool.cli.task import run_task

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class SuperResolveOptions(TaskOptions):
    """What super-resolution adds."""

    rate: Annotated[
        int | None,
        typer.Option(
            min=8000,
            max=192000,
            metavar="HZ",
            help="Sample rate of the output in Hz; the input's or the model's, whichever is higher.",
            rich_help_panel="Files",
            show_default=False,
        ),
    ] = None

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "output_rate": self.rate}


@app.command()
@takes(SuperResolveOptions)
def super_resolve(options: SuperResolveOptions) -> None:
    """Restore the band above what a recording holds: telephone speech to wide band.

    The band that is there passes unchanged. How far it reaches is measured first and told: a recording may
    hold less than its sample rate says.

    audiotool super-resolve telephone.wav -o wide.wav
    audiotool super-resolve calls/ -o wide/ --reference studio/ --report report.csv
    """
    run_task("super-resolve", options)
