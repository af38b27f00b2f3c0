"""The streaming resampler: exact length, alignment, any blocks, declared lag, flat pass band, no images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiotool.errors import StreamError
from audiotool.streaming import polyphase
from audiotool.streaming.resample import StreamingResampler

RATES = [
    (48000, 16000),
    (16000, 48000),
    (44100, 16000),
    (16000, 44100),
    (8000, 16000),
    (192000, 16000),
    (16000, 16000),
]
ODD_RATES = [
    (11025, 16000),
    (16000, 11025),
    (22050, 16000),
    (24000, 16000),
    (96000, 44100),
    (12345, 16000),
    (16000, 12345),
    (44101, 48000),
    (16000, 192000),
]


def resample(x: np.ndarray, rates: tuple[int, int], sizes: list[int]) -> np.ndarray:
    stream = StreamingResampler(*rates, channels=len(x))
    outputs, start = [], 0
    for size in sizes:
        outputs.append(stream.feed(x[:, start : start + size]))
        start += size
        late = min(start, x.shape[1]) * rates[1] / rates[0] - sum(o.shape[1] for o in outputs)
        assert late <= stream.lag
    return np.concatenate([*outputs, stream.flush()], axis=1)


def random_sizes(length: int, largest: int) -> list[int]:
    rng = np.random.default_rng(0)
    sizes: list[int] = []
    while sum(sizes) < length:
        sizes.append(int(rng.integers(0, largest)))
    return sizes


def noise(channels: int, length: int) -> np.ndarray:
    rng = np.random.default_rng(length)
    return rng.standard_normal((channels, length)).astype(np.float32) * np.float32(0.1)


@pytest.mark.parametrize("largest", [300, 20_000])
@pytest.mark.parametrize("rates", [*RATES, *ODD_RATES])
def test_blocks_equal_one_shot(rates: tuple[int, int], largest: int) -> None:
    x = noise(2, rates[0] + 17)
    y = resample(x, rates, random_sizes(x.shape[1], largest))
    assert y.dtype == np.float32
    assert y.shape[1] == -(-x.shape[1] * rates[1] // rates[0])
    np.testing.assert_array_equal(y, resample(x, rates, [x.shape[1]]))


@pytest.mark.parametrize("rates", [*RATES, *ODD_RATES])
def test_equals_the_spectrum_at_another_rate(rates: tuple[int, int]) -> None:
    """Noise in the pass band, faded in and out: one second's spectrum is all that either rate knows of it."""
    x = noise(1, rates[0])
    low = np.arange(rates[0] // 2 + 1) < 0.88 * min(rates) / 2
    x = np.fft.irfft(np.fft.rfft(x) * low, rates[0]) * np.hanning(rates[0])
    spectrum = np.fft.rfft(x)
    spectrum = np.pad(spectrum, ((0, 0), (0, rates[1])))[:, : rates[1] // 2 + 1]
    expected = np.fft.irfft(spectrum, rates[1]) * rates[1] / rates[0]
    y = resample(x.astype(np.float32), rates, [rates[0]])
    np.testing.assert_allclose(y, expected, atol=3e-6)


@pytest.mark.parametrize("rates", [r for r in [*RATES, *ODD_RATES] if r[0] != r[1]])
def test_pass_band_is_flat_and_nothing_is_mirrored(rates: tuple[int, int]) -> None:
    """One second's spectrum of a dozen tones: all tones that fit are there, and there is nothing else."""
    half = min(rates) / 2
    tones = [round(share * half) + 1 for share in (0.001, 0.1, 0.3, 0.6, 0.8, 0.899)]
    tones += [round(share * half) for share in (1.001, 1.013, 1.1, 1.7, 2.2, 3.1)]
    tones = [hz for hz in tones if hz < rates[0] / 2]
    t = np.arange(2 * rates[0]) / rates[0]
    x = 0.1 * np.sum([np.cos(2 * np.pi * hz * t) for hz in tones], axis=0, keepdims=True)
    y = resample(x.astype(np.float32), rates, [x.shape[1]])
    # A quarter of a second from the beginning, so that the tones are on; integer frequencies need no window.
    middle = y[0, rates[1] // 4 :][: rates[1]].astype(np.float64)
    amplitude = np.abs(np.fft.rfft(middle)) * 2 / rates[1] / 0.1
    passed = [hz for hz in tones if hz < half]
    assert np.abs(20 * np.log10(amplitude[passed])).max() < 0.01
    amplitude[passed] = 0
    assert 20 * np.log10(amplitude.max()) < -100


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(0, 3000),
    rates=st.sampled_from([*RATES, *ODD_RATES]),
    cut=st.integers(0, 1000).map(lambda n: n / 1000),
)
def test_length_is_exact_both_ways(length: int, rates: tuple[int, int], cut: float) -> None:
    x = np.random.default_rng(length).standard_normal((1, length)).astype(np.float32)
    there = resample(x, rates, [int(cut * length), length - int(cut * length)])
    assert there.shape[1] == -(-length * rates[1] // rates[0])
    back = StreamingResampler(rates[1], rates[0], 1)
    y = np.concatenate([back.feed(there), back.flush(length)], axis=1)
    assert y.shape[1] == length


@pytest.mark.parametrize("rates", [(48000, 16000), (44100, 16000), (8000, 16000), (12345, 16000)])
def test_there_and_back_is_aligned(rates: tuple[int, int]) -> None:
    t = np.arange(rates[0]) / rates[0]
    x = (0.5 * np.sin(2 * np.pi * 440 * t) * np.hanning(len(t)))[None].astype(np.float32)
    y = resample(resample(x, rates, [len(t)]), (rates[1], rates[0]), [rates[1]])
    assert np.abs(y[:, : len(t)] - x).max() < 1e-5


@pytest.mark.parametrize("rates", [*RATES, *ODD_RATES])
def test_lag_is_reached_and_short(rates: tuple[int, int]) -> None:
    stream = StreamingResampler(*rates, channels=1)
    got, most = 0, 0
    for fed, sample in enumerate(noise(1, 3 * rates[0] // 100).T, start=1):
        got += stream.feed(sample[None]).shape[1]
        most = max(most, stream.output_length(fed) - got)
    assert stream.lag - 1 <= most <= stream.lag
    # 65.5 samples of the lower rate; rounded up to samples of the input, and then of the output.
    assert stream.lag / rates[1] < 65.5 / min(rates) + 1 / rates[0] + 1 / rates[1]


def test_output_never_depends_on_later_input() -> None:
    x = noise(1, 9000)
    changed = x.copy()
    changed[:, 5000:] *= -1
    for rates in ((48000, 16000), (16000, 44100)):
        before, after = (StreamingResampler(*rates, 1).feed(w[:, :5000]) for w in (x, changed))
        np.testing.assert_array_equal(before, after)
        whole = resample(x, rates, [9000])
        np.testing.assert_allclose(before, whole[:, : before.shape[1]], atol=1e-6)


def test_weights_that_are_not_kept_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x = noise(1, 3000)
    kept = resample(x, (12345, 16000), [3000])
    polyphase.filter_between.cache_clear()
    monkeypatch.setattr(polyphase, "TABLE_BYTES", 100_000)
    np.testing.assert_array_equal(resample(x, (12345, 16000), [3000]), kept)
    filter_ = polyphase.filter_between(12345, 16000)
    assert 0 < sum(table.nbytes for table in filter_._tables.values()) <= 100_000
    polyphase.filter_between.cache_clear()


@pytest.mark.parametrize("channels", [1, 3])
def test_any_memory_order_and_type(channels: int) -> None:
    x = noise(channels, 4800)
    expected = resample(x, (48000, 16000), [4800])
    for same in (np.asfortranarray(x), x.astype(np.float64), x[:, ::-1].copy()[:, ::-1]):
        y = resample(same, (48000, 16000), [4800])
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, expected)


def test_rates_that_no_recording_has_are_refused() -> None:
    with pytest.raises(StreamError, match="4000000000 Hz is more than 500 times 16000 Hz"):
        StreamingResampler(4_000_000_000, 16000, 1)


def test_ended_stream_refuses() -> None:
    stream = StreamingResampler(48000, 16000, 1)
    stream.flush()
    with pytest.raises(StreamError, match="ended"):
        stream.feed(np.zeros((1, 10), np.float32))
    with pytest.raises(StreamError, match="ended"):
        stream.flush()
    stream.reset()
    assert stream.feed(np.zeros((1, 48000), np.float32)).shape[1] > 0


def test_second_stream_equals_the_first() -> None:
    stream = StreamingResampler(44100, 16000, 1)
    x = noise(1, 5000)
    first = np.concatenate([stream.feed(x), stream.flush()], axis=1)
    stream.reset()
    np.testing.assert_array_equal(np.concatenate([stream.feed(x), stream.flush()], axis=1), first)
