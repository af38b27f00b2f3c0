"""The pictures and sounds of a row: a waveform and a spectrogram of each recording, on one scale."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiotool.errors import AudiotoolError
from audiotool.metrics.rows import Row
from audiotool.report import png
from audiotool.report.overview import RANGE_DB, Overview, OverviewBuilder
from audiotool.report.sound import make_encoder
from audiotool.report.spool import Blob
from audiotool.report.tracks import Role, Track, tracks_of
from audiotool.streaming.downmix import StreamingDownmix

log = logging.getLogger(__name__)

SHADES = 40
"""Number of colours of a spectrogram. The eye does not distinguish more, and they make larger files."""
WAVE_ROWS = 33
"""Height of the waveform, which is above the spectrogram, in pixels."""
CLEAR, INK = SHADES, SHADES + 1
"""Palette indices of the waveform's background and of its line."""
PALETTE = [*png.magma(SHADES), (0, 0, 0, 0), (94, 129, 172, 255)]

GAINS = 160
"""Greatest number of points of the gain curve."""
FLOOR_DB = -70.0
"""Level of the input below which the gain is undefined, in dB of full scale."""
EMBEDDED_CHANNELS = 2
"""Greatest number of channels of embedded sound; recordings of more are mixed to one."""
SUMMED_SAMPLES = 1 << 24
"""Greatest number of samples of an input whose sound the page computes: it holds them in memory."""


@dataclass(frozen=True)
class Clip:
    """One recording of a row, for the page.

    Args:
        role, label: as `Track`.
        path: the file; None for a difference of two files.
        seconds: length of the recording.
        sample_rate: Hz.
        channels: number of channels of the recording.
        width_s: length that the picture shows, in seconds; at least `seconds`.
        level_db: root mean square over all channels in dB of full scale; None for silence.
        peak: greatest absolute sample of all channels.
        picture: PNG of the waveform and, below it, the spectrogram.
        sound: Ogg file, see `sound.Encoder`; None if it is not embedded.
        is_sum: whether the page adds the sounds of the output and of the removed signal to get this one.
    """

    role: Role
    label: str
    path: str | None
    seconds: float
    sample_rate: int
    channels: int
    width_s: float
    level_db: float | None
    peak: float
    picture: Blob
    sound: Blob | None
    is_sum: bool = False


@dataclass(frozen=True)
class Media:
    """The pictures and sounds of one row.

    Args:
        clips: one a recording, in the order of `tracks_of`.
        top_hz: highest frequency of the spectrograms.
        gain_db: level of the output over that of the input, at equal intervals; None where the input is
            below `FLOOR_DB`. Empty without exactly one input and one output of one length.
    """

    clips: tuple[Clip, ...]
    top_hz: float
    gain_db: tuple[float | None, ...] = ()

    def without_paths(self) -> Media:
        """Return a copy that names no files, for recordings that are deleted before the page is opened."""
        return replace(self, clips=tuple(replace(clip, path=None) for clip in self.clips))


def make_media(row: Row, sound: bool) -> Media | None:
    """Return the pictures and sounds of a row; None if no recording of it can be shown.

    The memory does not depend on the length of the recordings, but for the encoded sound.

    Args:
        sound: whether sound is embedded.
    """
    tracks = tracks_of(row)
    if not tracks:
        return None
    top_hz = max(track.info.sample_rate for track in tracks) / 2
    sums = _sums(tracks) if sound else ()
    try:
        found = [_analysed(track, top_hz, sound and track not in sums) for track in tracks]
    except Exception as error:
        # The page shows this row, and all others, without these pictures.
        unforeseen = f"internal error: {type(error).__name__} (--debug shows where)"
        reason = error if isinstance(error, AudiotoolError) else unforeseen
        log.warning("%s: not shown in the page: %s", row.name, reason)
        log.debug("%s", row.name, exc_info=True)
        return None
    views = [analysis.view for analysis in found]
    brightest = max((float(v.spectrum.max(initial=0)) for v in views), default=0.0)
    peak = max((v.peak for v in views), default=0.0)
    clips = [
        Clip(
            track.role,
            track.label,
            str(track.path) if track.minus is None else None,
            view.seconds,
            track.info.sample_rate,
            track.info.channels,
            view.column_s * len(view.power),
            analysis.level_db,
            analysis.peak,
            picture(view, brightest, peak),
            analysis.sound,
            track in sums,
        )
        for track, analysis, view in zip(tracks, found, views, strict=True)
    ]
    return Media(tuple(clips), top_hz, _gain(tracks, views))


def picture(view: Overview, brightest: float, peak: float) -> bytes:
    """Return the PNG of a waveform and, below it, a spectrogram.

    Args:
        brightest: power that has the brightest colour.
        peak: absolute sample that is drawn at the edges of the waveform's strip.
    """
    floor = max(brightest, 1e-12) * 10 ** (-RANGE_DB / 10)
    decibels = 10 * np.log10(np.maximum(view.spectrum.T[::-1], floor) / floor)
    shades = np.minimum(decibels * (SHADES / RANGE_DB), SHADES - 1).astype(np.uint8)
    return png.encode(np.concatenate((_wave(view, peak), shades)), PALETTE)


def _wave(view: Overview, peak: float) -> NDArray[np.uint8]:
    """Return the waveform's pixels, (WAVE_ROWS, columns): from the lowest to the highest sample."""
    middle = WAVE_ROWS // 2
    scale = middle / max(peak, 1e-6)
    top = np.rint(middle - view.high * scale)
    bottom = np.rint(middle - view.low * scale)
    rows = np.arange(WAVE_ROWS)[:, None]
    return np.where((rows >= top) & (rows <= bottom), INK, CLEAR).astype(np.uint8)


def _sums(tracks: Sequence[Track]) -> Sequence[Track]:
    """Return the input, alone in a sequence, if it is the sum of the output and what was removed.

    Encoding is most of a page's cost, so the sum is left to the page. It is nearer to the input than the
    encoded input is: the noise of either encoder is below its own signal.
    """
    removed = next((track for track in tracks if track.minus is not None), None)
    if removed is None:
        return ()
    info = removed.info
    if info.channels > EMBEDDED_CHANNELS or info.frames is None:
        return ()
    if not 0 < info.frames * info.channels <= SUMMED_SAMPLES:
        return ()
    return [track for track in tracks if track.role == "input"]


class _Analysis(NamedTuple):
    """What one pass over a track finds.

    Args:
        view: overview of the channels' mix.
        level_db, peak, sound: as `Clip`; no sound for a recording without samples.
    """

    view: Overview
    level_db: float | None
    peak: float
    sound: bytes | None


def _analysed(track: Track, top_hz: float, sound: bool) -> _Analysis:
    """Return the overview and the level of a track, and its sound if that is asked for, from one pass.

    Raises:
        InputError: a file cannot be read.
    """
    info = track.info
    overview = OverviewBuilder(info.sample_rate, top_hz, info.frames)
    downmix = StreamingDownmix(info.channels, ahead=True)
    channels = info.channels if info.channels <= EMBEDDED_CHANNELS else 1
    encoder = make_encoder(info.sample_rate, channels) if sound else None
    # The mix has another level than the channels: of one that is alone, half the amplitude.
    energy, count, peak = 0.0, 0, 0.0

    def add(block: NDArray[np.float32], mixed: NDArray[np.float32]) -> None:
        """Take the next samples (channels, time) and the next of their mix (1, time)."""
        overview.feed(mixed[0])
        if encoder is not None:
            encoder.feed(block if len(block) == channels else mixed)

    for block in track.blocks():
        add(block, downmix.feed(block))
        energy += float(np.square(block, dtype=np.float64).sum())
        count += block.size
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
    add(np.zeros((info.channels, 0), np.float32), downmix.flush())
    level_db = 10 * math.log10(energy / count) if energy > 0 else None
    encoded = encoder.finish() if encoder is not None and overview.frames else None
    return _Analysis(overview.finish(), level_db, peak, encoded)


def _gain(tracks: Sequence[Track], views: Sequence[Overview]) -> tuple[float | None, ...]:
    """Return the gain over time, see `Media`."""
    by_role = {t.role: v for t, v in zip(tracks, views, strict=True)}
    before, after = by_role.get("input"), by_role.get("output")
    if before is None or after is None or sum(t.role == "output" for t in tracks) > 1:
        return ()
    count = min(GAINS, len(before.power), len(after.power))
    if not count or abs(before.seconds - after.seconds) > before.column_s:
        return ()
    first, second = (_resampled(view.power, count) for view in (before, after))
    floor = 10 ** (FLOOR_DB / 10)
    with np.errstate(divide="ignore"):
        gains = 10 * np.log10(np.maximum(second, floor * 1e-3) / np.maximum(first, floor))
    return tuple(None if p < floor else round(float(g), 1) for p, g in zip(first, gains, strict=True))


def _resampled(power: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return the means over `count` parts of about equal length."""
    edges = np.linspace(0, len(power), count + 1).astype(int)[:-1]
    widths = np.diff(np.append(edges, len(power)))
    means: NDArray[np.float32] = (np.add.reduceat(power, edges) / widths).astype(np.float32)
    return means
