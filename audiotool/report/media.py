"""The pictures and sounds of a row: a waveform and a spectrogram of each recording, on one scale."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiotool.metrics.rows import Row
from audiotool.report import png
from audiotool.report.overview import RANGE_DB, DifferenceOverviewBuilder, Overview, OverviewBuilder
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
        found = _analysed(tracks, top_hz, [track for track in tracks if track not in sums] if sound else ())
    except Exception as error:
        # The page shows this row, and all others, without these pictures.
        log.warning("%s: not shown in the page: %s", row.name, error)
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


def _analysed(tracks: Sequence[Track], top_hz: float, audible: Sequence[Track]) -> list[_Analysis]:
    """Return the analysis of each track, with the sound of those in `audible`; each file is read once."""
    analyses = [_TrackAnalysis(track, top_hz, track in audible) for track in tracks]
    joint = _difference(analyses, top_hz)
    for analysis in analyses:
        if analysis not in joint:
            for block in analysis.track.blocks():
                analysis.feed(block)
    if joint:
        first, second, removed = joint
        for block, taken in zip(first.track.blocks(), second.track.blocks(), strict=True):
            first.feed(block)
            second.feed(taken)
            removed.feed(block - taken)
    for analysis in analyses:  # a difference takes what both of its recordings have just measured
        analysis.flush()
    return [analysis.finish() for analysis in analyses]


def _difference(analyses: Sequence[_TrackAnalysis], top_hz: float) -> Sequence[_TrackAnalysis]:
    """Return (first, second, difference) if two of the tracks and the third are so related; else ().

    The overview of such a difference is computed from those of the other two. This holds for one channel
    alone, because the mix of several channels may use other weights for each recording.
    """
    for removed in analyses:
        info = removed.track.info
        if removed.track.minus is None or info.channels > 1 or info.frames is None:
            continue
        paths = (removed.track.path, removed.track.minus)
        whole = {a.track.path: a for a in reversed(analyses) if a.track.minus is None}
        if all(path in whole for path in paths):
            first, second = (whole[path] for path in paths)
            removed.overview = DifferenceOverviewBuilder(first.overview, second.overview, top_hz, info.frames)
            return first, second, removed
    return ()


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


class _TrackAnalysis:
    """Computes the overview and the level of one track and encodes its sound, in one pass."""

    def __init__(self, track: Track, top_hz: float, sound: bool) -> None:
        info = track.info
        self.track = track
        self.overview = OverviewBuilder(info.sample_rate, top_hz, info.frames)
        self._downmix = StreamingDownmix(info.channels, ahead=True)
        self._channels = info.channels if info.channels <= EMBEDDED_CHANNELS else 1
        self._encoder = make_encoder(info.sample_rate, self._channels) if sound else None
        # The mix has another level than the channels: of one that is alone, half the amplitude.
        self._energy, self._count, self._peak = 0.0, 0, 0.0

    def feed(self, block: NDArray[np.float32]) -> None:
        """Take the next samples, (channels, time)."""
        self._add(block, self._downmix.feed(block))
        self._energy += float(np.square(block, dtype=np.float64).sum())
        self._count += block.size
        self._peak = max(self._peak, float(np.abs(block).max(initial=0.0)))

    def flush(self) -> None:
        """Take the rest of the mix; nothing can be fed after this."""
        self._add(np.zeros((self.track.info.channels, 0), np.float32), self._downmix.flush())

    def finish(self) -> _Analysis:
        """Return what was found, after `flush`."""
        encoded = self._encoder.finish() if self._encoder is not None and self.overview.frames else None
        level_db = 10 * math.log10(self._energy / self._count) if self._energy > 0 else None
        return _Analysis(self.overview.finish(), level_db, self._peak, encoded)

    def _add(self, block: NDArray[np.float32], mixed: NDArray[np.float32]) -> None:
        """Take the next samples (channels, time) and the next of their mix (1, time)."""
        self.overview.feed(mixed[0])
        if self._encoder is not None:
            self._encoder.feed(block if len(block) == self._channels else mixed)


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
