"""Pauses are the same for any cut of a stream, and a denoiser's state stays near the initial one there."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from kit.audio import speech_like

import audiotool
from audiotool.audio.reader import read
from audiotool.streaming import streamer
from audiotool.streaming.pauses import Pauses, energies
from audiotool.streaming.streams import Streams

HOP, RATE = 160, 16000
SECOND = 100
DEMO = Path(__file__).parents[1] / "data" / "audio" / "demo"


def found(given: list[float], kept: list[float], hops: int = 1) -> list[int]:
    """Hops at whose end a second was a pause, for the energies of single hops of one row."""
    pauses, rows = Pauses(HOP, RATE), []
    for first in range(0, len(given), hops):
        edges = pauses.edges(first * HOP, min(first + hops, len(given)) * HOP)
        for begin, end in itertools.pairwise(edges):
            part = slice(begin // HOP, end // HOP)
            sums = (np.array([sum(given[part])]), np.array([sum(kept[part])]))
            if pauses.add(end - begin, *sums) is not None:
                rows.append(end // HOP)
    return rows


@pytest.mark.parametrize("hops", [1, 7, 100, 250, 1000])
def test_seconds_that_keep_nothing_are_pauses_for_any_cut(hops: int) -> None:
    given = [1.0] * 500
    kept = [0.0] * SECOND + [0.04] * SECOND + [0.06] * SECOND + [0.0] * 95 + [1.0] * 5 + [0.0] * SECOND
    assert found(given, kept, hops) == [100, 200, 400, 500]
    # A hop that keeps more than it was given makes up for the others of its second.
    assert found(given, [*kept[:399], 1.5, *kept[400:]], hops) == [100, 200, 500]


def test_silence_is_a_pause_and_rows_are_apart() -> None:
    assert found([0.0] * 100, [0.0] * 100) == [100]
    pauses = Pauses(HOP, RATE)
    rows = pauses.add(RATE, np.array([1.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0]))
    assert rows is not None
    assert rows.tolist() == [False, True, True]
    assert pauses.add(RATE, np.ones(3), np.ones(3)) is None


def test_the_energy_of_rows() -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    np.testing.assert_allclose(energies(x), [55, 451])


@pytest.fixture(scope="module")
def denoiser() -> audiotool.Pipeline:
    return audiotool.load("denoise-16k", engine="onnx")


def noise(seconds: float) -> np.ndarray:
    return (0.02 * np.random.default_rng(3).standard_normal(round(seconds * RATE))).astype(np.float32)


def test_speech_after_a_long_pause_is_kept(
    denoiser: audiotool.Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, noisy = (read(DEMO / f"{name}.flac")[0][0] for name in ("clean", "noisy"))
    begin = int(np.flatnonzero(np.abs(clean) > 0.02)[0])
    voice, beginning = (x[begin : begin + RATE] for x in (clean, noisy))
    hum = np.tile(noisy - clean, 2)

    def distortion(lead_in: float) -> float:
        """Error of the first second after so much of its noise alone, in dB of the voice."""
        live = denoiser.live(RATE)
        x = np.concatenate((hum[: round(lead_in * RATE)], beginning))
        y = np.concatenate([live.feed(x), live.flush()])[-RATE:]
        return float(10 * np.log10(np.square(y - voice).sum() / np.square(voice).sum()))

    found = [distortion(lead_in) for lead_in in (4.0, 8.0, 12.0)]
    monkeypatch.setattr(streamer, "SHARE", 0.0)
    without = [distortion(lead_in) for lead_in in (4.0, 8.0, 12.0)]
    assert np.mean(found) < np.mean(without) - 0.8


@pytest.mark.parametrize("size", [256, 5000, 10**6])
def test_pauses_do_not_depend_on_blocks(denoiser: audiotool.Pipeline, size: int) -> None:
    x = np.concatenate((noise(2.3), speech_like(1.0, RATE)[0] + noise(1.0), noise(3.1)))
    whole = denoiser.live(RATE)
    expected = np.concatenate([whole.feed(x), whole.flush()])
    live = denoiser.live(RATE)
    parts = [live.feed(x[n : n + size]) for n in range(0, len(x), size)]
    np.testing.assert_allclose(np.concatenate([*parts, live.flush()]), expected, atol=1e-5)


def test_streams_have_pauses_of_their_own(denoiser: audiotool.Pipeline) -> None:
    streams: Streams = denoiser.streams(2)
    x = np.concatenate((noise(3.0), speech_like(1.0, RATE)[0]))
    alone = denoiser.live(RATE)
    expected = np.concatenate([alone.feed(x), alone.flush()])
    first, parts = streams.join(RATE), []
    for n in range(0, len(x), 1000):
        if n == 9000:
            streams.join(RATE).push(noise(4.0))
        first.push(x[n : n + 1000])
        streams.step()
        parts.append(first.pull())
    parts.append(first.flush())
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-5)
