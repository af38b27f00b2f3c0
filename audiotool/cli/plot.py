"""`audiotool plot`: recordings as a figure."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from audiotool.cli.named_output import refuse_existing
from audiotool.cli.screen import write_document
from audiotool.errors import as_plan_error
from audiotool.tasks.options import AsJson

app = typer.Typer(add_completion=False)


class Shown(str, enum.Enum):
    """Parts of a recording that can be drawn."""

    both = "both"
    spectrogram = "spectrogram"
    waveform = "waveform"


@app.command()
def plot(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recordings.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="A .png, .svg or .pdf.", show_default=False)
    ],
    show: Annotated[
        Shown, typer.Option(metavar="PART", help="Parts to draw: spectrogram, waveform, or both.")
    ] = Shown.both,
    difference: Annotated[
        bool,
        typer.Option(
            "--difference", help="Also draw the difference of two files, the first minus the second."
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a plot that exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw recordings below each other on one scale: waveforms, and spectrograms on the mel scale.

    audiotool plot noisy.wav clean.wav -o both.png
    audiotool plot noisy.wav clean.wav -o removed.pdf --show spectrogram --difference
    """
    from audiotool.plots.figure import check_paths, save
    from audiotool.plots.recordings import plot_recordings, tracks_to_plot

    with as_plan_error():
        check_paths([output])
        refuse_existing(output, overwrite)
        tracks = tracks_to_plot(files, difference)
    save(plot_recordings(tracks, show.value), output)
    if as_json:
        write_document("plot", output=str(output))
