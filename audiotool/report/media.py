"""What is seen and heard of a row: one picture a recording, all on one scale, and its sound in small."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiotool.audio.mono import Downmix
from audiotool.metrics.rows import Row
from audiotool.report import png
from audiotool.report.overview import DifferenceSurveyor, Overview, Surveyor
from audiotool.report.sound import make_encoder
from audiotool.report.spool import Blob
from audiotool.report.tracks import Role, Track, tracks_of

log = logging.getLogger(__name__)

RANGE_DB = 80.0
"""Between the brightest and the darkest colour of a spectrogram."""
SHADES = 40
"""Colours of a spectrogram: more are not told apart, and take more room."""
WAVE_ROWS = 33
"""Height of the waveform above the spectrogram, in pixels."""
CLEAR, INK = SHADES, SHADES + 1
"""Colours of the waveform's ground and of itself."""
PALETTE = [*png.magma(SHADES), (0, 0, 0, 0), (94, 129, 172, 255)]

GAINS = 160
"""Points of the curve of gain over time."""
FLOOR_DB = -70.0
"""Below this level an input has no gain to be told."""
EMBEDDED_CHANNELS = 2
"""Greatest number of channels of embedded sound; recordings of more are mixed to one."""
SUMMED_SAMPLES = 1 << 24
"""Greatest number of samples of an input whose sound the page computes: it holds them in memory."""


@dataclass(frozen=True)
class Clip:
    """One recording of a row, for the page.

    Args:
        role, label, path: as `Track`; no path for a difference, which is no file.
        seconds, sample_rate, channels: of the recording.
        width_s: of the picture, a little more than `seconds`.
        level_db: root mean square in dB of full scale; None for silence.
        peak: greatest absolute sample.
        picture: PNG: the waveform, and the spectrogram below it.
        sound: as `sound.Encoder` gives it; None where it is not embedded.
        is_sum: whether the page computes its sound as the sum of the output's and of the removed signal's.
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
    """What belongs to one row.

    Args:
        clips: in the order of `tracks_of`.
        top_hz: where the spectrograms end.
        gain_db: of the output over the input, at equal distances; None where the input is silent.
    """

    clips: tuple[Clip, ...]
    top_hz: float
    gain_db: tuple[float | None, ...] = ()

    def without_paths(self) -> Media:
        """The same of files that are gone when the page is opened."""
        return replace(self, clips=tuple(replace(clip, path=None) for clip in self.clips))


def make_media(row: Row, sound: bool, folder: Path | None = None) -> Media | None:
    """Look at the recordings of a row, in constant memory but for embedded sound; None where there are none.

    Args:
        sound: whether it is embedded.
        folder: as `tracks_of`.
    """
    tracks = tracks_of(row, folder)
    if not tracks:
        return None
    top_hz = max(track.info.sample_rate for track in tracks) / 2
    sums = _sums(tracks) if sound else ()
    try:
        found = _surveyed(tracks, top_hz, [track for track in tracks if track not in sums] if sound else ())
    except Exception as error:
        # Whatever is wrong with a picture, the row and the others are told.
        log.warning("%s: not shown in the page: %s", row.name, error)
        return None
    views = [view for view, _ in found]
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
            view.level_db,
            view.peak,
            picture(view, brightest, peak),
            encoded,
            track in sums,
        )
        for track, (view, encoded) in zip(tracks, found, strict=True)
    ]
    return Media(tuple(clips), top_hz, _gain(tracks, views))


def picture(view: Overview, brightest: float, peak: float) -> bytes:
    """PNG of a waveform and a spectrogram below it.

    Args:
        brightest: power of the brightest colour.
        peak: sample that reaches the edges of the waveform's strip.
    """
    floor = max(brightest, 1e-12) * 10 ** (-RANGE_DB / 10)
    decibels = 10 * np.log10(np.maximum(view.spectrum.T[::-1], floor) / floor)
    shades = np.minimum(decibels * (SHADES / RANGE_DB), SHADES - 1).astype(np.uint8)
    return png.encode(np.concatenate((_wave(view, peak), shades)), PALETTE)


def _wave(view: Overview, peak: float) -> NDArray[np.uint8]:
    """(WAVE_ROWS, columns): from the lowest to the highest sample of each column."""
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


def _surveyed(
    tracks: Sequence[Track], top_hz: float, heard: Sequence[Track]
) -> list[tuple[Overview, bytes | None]]:
    """Return the overview of each track, and the sound of those in `heard`; each recording is read once."""
    lenses = [_Lens(track, top_hz, track in heard) for track in tracks]
    joint = _difference(lenses, top_hz)
    for lens in lenses:
        if lens not in joint:
            for block in lens.track.blocks():
                lens.feed(block)
    if joint:
        first, second, removed = joint
        for block, taken in zip(first.track.blocks(), second.track.blocks(), strict=True):
            first.feed(block)
            second.feed(taken)
            removed.feed(block - taken)
    return [lens.finish() for lens in lenses]


def _difference(lenses: Sequence[_Lens], top_hz: float) -> Sequence[_Lens]:
    """Two recordings of one channel and their difference, which is then measured of them; none without one.

    Of several channels the one that is drawn may be another for each.
    """
    for removed in lenses:
        info = removed.track.info
        if removed.track.minus is None or info.channels > 1 or info.frames is None:
            continue
        paths = (removed.track.path, removed.track.minus)
        whole = {lens.track.path: lens for lens in reversed(lenses) if lens.track.minus is None}
        if all(path in whole for path in paths):
            first, second = (whole[path] for path in paths)
            removed.surveyor = DifferenceSurveyor(first.surveyor, second.surveyor, top_hz, info.frames)
            return first, second, removed
    return ()


class _Lens:
    """Looks at one track, and encodes it."""

    def __init__(self, track: Track, top_hz: float, sound: bool) -> None:
        info = track.info
        self.track = track
        self.surveyor = Surveyor(info.sample_rate, top_hz, info.frames)
        self._to_one, self._to_few = Downmix(), Downmix()
        self._channels = info.channels if info.channels <= EMBEDDED_CHANNELS else 1
        self._encoder = make_encoder(info.sample_rate, self._channels) if sound else None

    def feed(self, block: NDArray[np.float32]) -> None:
        """Take the next samples, (channels, time)."""
        self.surveyor.feed(self._to_one(block))
        if self._encoder is not None:
            self._encoder.feed(block if len(block) == self._channels else self._to_few(block)[None])

    def finish(self) -> tuple[Overview, bytes | None]:
        """What is seen, and what is heard; no sound of a recording without samples."""
        encoded = self._encoder.finish() if self._encoder is not None and self.surveyor.frames else None
        return self.surveyor.finish(), encoded


def _gain(tracks: Sequence[Track], views: Sequence[Overview]) -> tuple[float | None, ...]:
    """What was done to the level over time, where there are one input and one output of a length."""
    by_role = {t.role: v for t, v in zip(tracks, views, strict=True)}
    before, after = by_role.get("input"), by_role.get("output")
    if before is None or after is None or sum(t.role == "output" for t in tracks) > 1:
        return ()
    count = min(GAINS, len(before.power))
    if not count or abs(before.seconds - after.seconds) > before.column_s:
        return ()
    first, second = (_resampled(view.power, count) for view in (before, after))
    floor = 10 ** (FLOOR_DB / 10)
    with np.errstate(divide="ignore"):
        gains = 10 * np.log10(np.maximum(second, floor * 1e-3) / np.maximum(first, floor))
    return tuple(None if p < floor else round(float(g), 1) for p, g in zip(first, gains, strict=True))


def _resampled(power: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Means over `count` equal parts."""
    edges = np.linspace(0, len(power), count + 1).astype(int)[:-1]
    widths = np.diff(np.append(edges, len(power)))
    means: NDArray[np.float32] = (np.add.reduceat(power, edges) / widths).astype(np.float32)
    return means
