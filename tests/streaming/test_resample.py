"""The streaming resampler: exact length, alignment, any blocks, declared lag, full band."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from audiotool.errors import StreamError
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


def resample(x: np.ndarray, rates: tuple[int, int], sizes: list[int]) -> np.ndarray:
    stream = StreamingResampler(*rates, channels=len(x))
    outputs, start = [], 0
    for size in sizes:
        outputs.append(stream.feed(x[:, start : start + size]))
        start += size
        late = min(start, x.shape[1]) * rates[1] / rates[0] - sum(o.shape[1] for o in outputs)
        assert late <= stream.lag
    return np.concatenate([*outputs, stream.flush()], axis=1)


@pytest.mark.parametrize("rates", RATES)
def test_blocks_equal_one_shot(rates: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, rates[0] + 17)).astype(np.float32) * 0.1
    sizes = []
    while sum(sizes) < x.shape[1]:
        sizes.append(int(rng.integers(0, 4000)))
    y = resample(x, rates, sizes)
    expected = soxr.resample(x.T, *rates, quality="HQ").T
    assert y.shape[1] == -(-x.shape[1] * rates[1] // rates[0])
    shared = min(y.shape[1], expected.shape[1])
    np.testing.assert_allclose(y[:, :shared], expected[:, :shared], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(0, 3000),
    rates=st.sampled_from([*RATES, (22050, 16000), (11025, 16000), (16000, 11025), (96000, 44100)]),
    cut=st.integers(0, 1000).map(lambda n: n / 1000),
)
def test_length_is_exact_both_ways(length: int, rates: tuple[int, int], cut: float) -> None:
    x = np.random.default_rng(length).standard_normal((1, length)).astype(np.float32)
    there = resample(x, rates, [int(cut * length), length - int(cut * length)])
    assert there.shape[1] == -(-length * rates[1] // rates[0])
    back = StreamingResampler(rates[1], rates[0], 1)
    y = np.concatenate([back.feed(there), back.flush(length)], axis=1)
    assert y.shape[1] == length


@pytest.mark.parametrize("rates", [(48000, 16000), (44100, 16000), (8000, 16000)])
def test_there_and_back_is_aligned(rates: tuple[int, int]) -> None:
    t = np.arange(rates[0]) / rates[0]
    x = (0.5 * np.sin(2 * np.pi * 440 * t) * np.hanning(len(t)))[None].astype(np.float32)
    y = resample(resample(x, rates, [len(t)]), (rates[1], rates[0]), [rates[1]])
    assert np.abs(y[:, : len(t)] - x).max() < 1e-4


def test_ended_stream_refuses() -> None:
    stream = StreamingResampler(48000, 16000, 1)
    stream.flush()
    with pytest.raises(StreamError, match="ended"):
        stream.feed(np.zeros((1, 10), np.float32))
    with pytest.raises(StreamError, match="ended"):
        stream.flush()
    stream.reset()
    assert stream.feed(np.zeros((1, 48000), np.float32)).shape[1] > 0
