"""Waveforms and spectrograms of recordings on one scale, and of the difference of two recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from audiotool.audio.near_names import near_name
from audiotool.audio.reader import probe
from audiotool.errors import InputError
from audiotool.paths import MISSING, absence
from audiotool.plots.figure import AFTER, new_figure, set_title, shortened
from audiotool.report.overview import RANGE_DB, TICKS_HZ, Overview, OverviewBuilder, mel
from audiotool.report.tracks import Track
from audiotool.streaming.downmix import StreamingDownmix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Part = Literal["both", "spectrogram", "waveform"]

WIDTH = 9.0
"""Width of a figure in inches."""
LONGEST = 80
"""Greatest width of a name above a recording, in columns of a terminal: what a figure of `WIDTH` holds."""
HEIGHTS = {"waveform": 0.9, "spectrogram": 2.0}
"""Height of each part of a recording in inches."""


def tracks_to_plot(paths: Sequence[Path], difference: bool) -> list[Track]:
    """Return the recordings as tracks.

    Args:
        paths: the files.
        difference: adds the first minus the second of two files.
    Raises:
        InputError: a file cannot be read; or a difference is asked of other than two files, or of files of
            different rate, channels or length.
    """
    for path in paths:
        if absence(path) == MISSING:
            raise InputError(f"{path}: {MISSING}{near_name(path)}")
    names = [path.name for path in paths]
    # Files of one name are labelled with their folders.
    labels = names if len(set(names)) == len(names) else list(map(str, paths))
    tracks = [Track("input", label, path, probe(path)) for label, path in zip(labels, paths, strict=True)]
    if not difference:
        return tracks
    if len(tracks) != 2:
        raise InputError(f"a difference is that of two files, got {len(tracks)}")
    first, second = tracks
    for name, unit in (("sample_rate", "Hz"), ("channels", "channels"), ("frames", "samples")):
        values = [getattr(track.info, name) for track in tracks]
        if values[0] != values[1]:
            raise InputError(
                f"only recordings of one form can be subtracted: {first.path} has {values[0]} {unit},"
                f" {second.path} {values[1]}"
            )
    label = " minus ".join(shortened(track.label, LONGEST // 2 - 4) for track in tracks)
    return [*tracks, Track("removed", label, first.path, first.info, second.path)]


def plot_recordings(tracks: Sequence[Track], part: Part = "both") -> Figure:
    """Draw recordings below each other; each is read once, in constant memory.

    Args:
        tracks: the recordings.
        part: the parts that are drawn of each.
    Raises:
        InputError: a file cannot be read.
    """
    top_hz = max(track.info.sample_rate for track in tracks) / 2
    views = [overview_of(track, top_hz) for track in tracks]
    parts = [name for name in ("waveform", "spectrogram") if part in ("both", name)]
    heights = [HEIGHTS[name] for _ in tracks for name in parts]
    figure = new_figure(WIDTH, 0.6 + sum(heights) + 0.3 * len(tracks))
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    peak = max(max(view.peak for view in views), 1e-6)
    brightest = 10 * np.log10(max(max(float(v.spectrum.max(initial=0)) for v in views), 1e-12))
    pictures = []
    for n, (track, view) in enumerate(zip(tracks, views, strict=True)):
        own = dict(zip(parts, panels[n * len(parts) :], strict=False))
        set_title(own[parts[0]], shortened(track.label, LONGEST), "left")
        if "waveform" in own:
            _draw_waveform(own["waveform"], view, peak)
        if "spectrogram" in own:
            pictures.append(_draw_spectrogram(own["spectrogram"], view, brightest, top_hz))
    panels[-1].set_xlabel("time, s")
    panels[-1].set_xlim(0, max(max(view.seconds for view in views), 1e-3))
    if pictures:
        places = [axes for axes in panels if axes.images]
        figure.colorbar(pictures[0], ax=places, label="dBFS", pad=0.01, aspect=40)
    return figure


def overview_of(track: Track, top_hz: float) -> Overview:
    """Return the overview of a recording, mixed to one channel.

    Raises:
        InputError: the file cannot be read.
    """
    builder = OverviewBuilder(track.info.sample_rate, top_hz, track.info.frames)
    downmix = StreamingDownmix(track.info.channels, ahead=True)
    for block in track.blocks():
        builder.feed(downmix.feed(block)[0])
    builder.feed(downmix.flush()[0])
    return builder.finish()


def _draw_waveform(axes: Any, view: Overview, peak: float) -> None:
    times = (np.arange(len(view.low)) + 0.5) * view.column_s
    axes.fill_between(times, view.low, view.high, color=AFTER, linewidth=0.4)
    axes.set_ylim(-1.05 * peak, 1.05 * peak)
    axes.set_ylabel("amplitude")


def _draw_spectrogram(axes: Any, view: Overview, brightest: float, top_hz: float) -> Any:
    decibels = 10 * np.log10(np.maximum(view.spectrum.T, 1e-20))
    picture = axes.imshow(
        decibels,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=brightest - RANGE_DB,
        vmax=brightest,
        extent=(0, view.column_s * len(view.power), 0, 1),
        interpolation="nearest",
    )
    ticks = [hz for hz in (0, *TICKS_HZ) if hz <= top_hz]
    axes.set_yticks([mel(hz) / mel(top_hz) for hz in ticks], [f"{hz / 1000:g}" for hz in ticks])
    axes.set_ylabel("kHz")
    return picture
