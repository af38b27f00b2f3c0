"""The task `super-resolve`: from narrow-band speech to wide-band speech."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from audiotool.tasks.base import Scoring
from audiotool.tasks.inference import InferenceTask
from audiotool.tasks.options import TaskOptions, a_number, raw_rate_option


@dataclass(frozen=True, eq=False, repr=False)
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
            help="Bandwidth of the recordings; without it that of each channel of files is measured, and that"
            " of pipes estimated.",
            rich_help_panel="Amount",
            show_default=False,
        ),
    ] = None

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "output_rate": self.rate, "bandwidth_hz": self.bandwidth}


class SuperResolve(InferenceTask):
    """Add the high frequencies that a recording lacks: telephone speech, old recordings, dull microphones.

    The bandwidth of each channel is measured and reported, because it may be
    less than the sample rate allows. Content below it passes unchanged, but
    for the top 8 % of the input's band where the output's rate is higher. The
    band above it, from 2 kHz on, is filled up to half of the output's sample
    rate, and up to 24 kHz at most. A recording with content up to there stays
    unchanged, which is reported. The bandwidth of a pipe is estimated from the
    spectrum so far, or given by --bandwidth.

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
