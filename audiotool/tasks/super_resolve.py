"""The task `super-resolve`: from narrow-band speech to wide-band speech."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from audiotool.tasks.base import Scoring
from audiotool.tasks.inference import InferenceTask
from audiotool.tasks.options import TaskOptions, a_number, raw_rate_option


@dataclass(frozen=True)
class SuperResolveOptions(TaskOptions):
    """Options of `super-resolve`."""

    # In this command --rate is the output's sample rate.
    raw_rate: Annotated[int | None, raw_rate_option("--raw-rate")] = None
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
    bandwidth: Annotated[
        float | None,
        typer.Option(
            min=500,
            max=96000,
            callback=a_number,
            metavar="HZ",
            help="Where the content of the recordings ends; without it files are measured, and pipes follow"
            " what they hear.",
            rich_help_panel="Amount",
            show_default=False,
        ),
    ] = None

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "output_rate": self.rate, "bandwidth_hz": self.bandwidth}


class SuperResolve(InferenceTask):
    """Restore the band above what a recording holds: telephone speech, old recordings, dull microphones.

    The band that is there passes unchanged. How far it reaches is measured first and told: a recording may
    hold less than its sample rate says. From 2 kHz on everything above is filled, up to half of the output's
    sample rate; what holds sound up to there is left as it is, and told so. What comes through a pipe is not
    measured first: where its content ends is followed, or given by --bandwidth.

    audiotool super-resolve telephone.wav -o full.wav
    audiotool super-resolve telephone.wav -o wide.wav --rate 16000
    audiotool super-resolve calls/ -o wide/ --reference studio/ --report report.csv
    """

    name = "super-resolve"
    verb = "super-resolving"
    done = "super-resolved"
    gives = "wide-band"
    options_class = SuperResolveOptions
    settings = {"widens": True}  # noqa: RUF012
    scoring = Scoring(
        (
            *("lsd", "pesq", "stoi", "estoi", "lsd_high"),
            *("restored_lsd", "restored_voiced", "restored_unvoiced", "restored_correlation"),
        ),
        best="lsd",
    )
    example = "narrow-band"
