"""Pictures of a recording do not depend on blocks or length, and show sounds at their time and frequency."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from kit.audio import speech_like

from audiotool.errors import InputError
from audiotool.report import png
from audiotool.report.overview import BANDS, COLUMNS, Overview, OverviewBuilder, mel


def overview_of(waveform: np.ndarray, rate: int, blocks: int = 7919, known: bool = True) -> Overview:
    builder = OverviewBuilder(rate, rate / 2, len(waveform) if known else None)
    for first in range(0, len(waveform), blocks):
        builder.feed(waveform[first : first + blocks])
    return builder.finish()


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_sine_is_seen_at_its_frequency_level_and_peak(rate: int) -> None:
    hz = 0.3 * rate / 2
    waveform = (0.5 * np.sin(2 * np.pi * hz * np.arange(3 * rate) / rate)).astype(np.float32)
    view = overview_of(waveform, rate)
    row = view.spectrum[len(view.spectrum) // 2].argmax()
    assert row == pytest.approx(mel(hz) / mel(rate / 2) * (BANDS - 1), abs=1)
    assert 0.01 < view.spectrum.max() <= 0.25
    assert view.power.mean() == pytest.approx(0.125, rel=0.01)
    assert view.peak == pytest.approx(0.5, abs=0.01)
    assert view.seconds == 3.0
    assert view.column_s * len(view.power) == pytest.approx(3.0, abs=2 * view.column_s)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("blocks", [100, 4801, 10**9])
def test_blocks_of_any_length_give_one_overview(blocks: int, known: bool) -> None:
    waveform = speech_like(4.0, 16000)[0]
    expected, found = overview_of(waveform, 16000, known=known), overview_of(waveform, 16000, blocks, known)
    for name in ("spectrum", "low", "high", "power"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-3, atol=1e-7)


def test_events_stay_where_they_are_however_long_a_recording_is() -> None:
    rate = 8000
    waveform = np.zeros(600 * rate, np.float32)
    waveform[450 * rate : 451 * rate] = 0.9
    for known in (True, False):
        view = overview_of(waveform, rate, 100_000, known)
        assert COLUMNS / 2 < len(view.power) <= COLUMNS
        at = view.power.argmax() * view.column_s
        assert at == pytest.approx(450, abs=2 * view.column_s)
        assert view.high.max() == pytest.approx(0.9)
        assert view.power.mean() == pytest.approx(0.81 / 600, rel=0.02)


@pytest.mark.parametrize("samples", [0, 1, 100])
def test_next_to_nothing_has_an_overview(samples: int) -> None:
    view = overview_of(np.full(samples, 0.25, np.float32), 16000)
    assert len(view.power) == min(samples, -(-samples // 64))
    assert view.peak == (0.25 if samples else 0.0)
    assert bool(view.power.any()) == (samples > 0)


def test_a_picture_is_read_back_as_it_was_written() -> None:
    pixels = np.random.default_rng(0).integers(0, 42, (31, 57)).astype(np.uint8)
    data = png.encode(pixels, [*png.magma(40), (0, 0, 0, 0), (1, 2, 3, 255)])
    parts, at = {}, len(png.SIGNATURE)
    assert data.startswith(png.SIGNATURE)
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + content)
        parts[kind] = content
        at += 12 + size
    assert list(parts) == [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBBBBB", parts[b"IHDR"]) == (57, 31, 8, 3, 0, 0, 0)
    lines = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(31, 58)
    assert (lines[:, 0] == 1).all()
    np.testing.assert_array_equal(np.cumsum(lines[:, 1:], axis=1, dtype=np.uint8), pixels)
    assert parts[b"PLTE"][:3] == b"\x00\x00\x04"
    assert parts[b"tRNS"][-2:] == b"\x00\xff"


@pytest.mark.parametrize("value", [1e15, -1e16, 1e30])
def test_a_sample_far_beyond_full_scale_has_a_picture_or_one_reason(value: float) -> None:
    samples = speech_like(0.5, 16000)[0]
    samples[99] = value
    if value == 1e15:
        assert np.isfinite(overview_of(samples, 16000).spectrum).all()
    else:
        with pytest.raises(InputError, match="too far beyond full scale"):
            overview_of(samples, 16000)
