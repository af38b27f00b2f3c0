"""The gain of the upper band: follows removal, never above one, block sizes do not matter, causal."""

from __future__ import annotations

import numpy as np

from audiotool.streaming.upper_band import RemovalGain

RATE = 48000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, round(seconds * RATE))).astype(np.float32) * 0.1


def test_gain_is_one_where_nothing_was_removed() -> None:
    low = noise(0.5)
    assert np.all(RemovalGain(RATE, 1, 1).feed(low, low[None]) == 1.0)
    silent = np.zeros_like(low)
    assert np.all(RemovalGain(RATE, 1, 1).feed(silent, silent[None]) == 1.0)


def test_gain_settles_at_the_amplitude_ratio() -> None:
    low = noise(1.0)
    gain = RemovalGain(RATE, 2, 1).feed(low, np.stack([0.1 * low, 0.5 * low]))
    np.testing.assert_allclose(gain[0, 0, RATE // 2 :], 0.1, rtol=1e-3)
    np.testing.assert_allclose(gain[1, 0, RATE // 2 :], 0.5, rtol=1e-3)


def test_gain_never_amplifies() -> None:
    low = noise(0.3)
    assert RemovalGain(RATE, 1, 1).feed(low, 3 * low[None]).max() <= 1.0


def test_gain_is_smooth() -> None:
    low = noise(1.0)
    enhanced = low.copy()
    enhanced[:, RATE // 2 :] = 0
    gain = RemovalGain(RATE, 1, 1).feed(low, enhanced[None])
    assert np.abs(np.diff(gain)).max() < 2 / (0.016 * RATE)
    assert gain[0, 0, -1] < 0.01


def test_blocks_do_not_matter_and_the_future_neither() -> None:
    low = noise(0.5)
    enhanced = (low * np.linspace(1, 0, low.shape[1], dtype=np.float32))[None]
    expected = RemovalGain(RATE, 1, 1).feed(low, enhanced)
    stream, parts, start = RemovalGain(RATE, 1, 1), [], 0
    for size in [1, 0, 767, 768, 769, 5, 4000, 100000]:
        parts.append(stream.feed(low[:, start : start + size], enhanced[..., start : start + size]))
        start += size
    np.testing.assert_allclose(np.concatenate(parts, axis=-1), expected, atol=1e-6)
    half = low.shape[1] // 2
    np.testing.assert_array_equal(
        RemovalGain(RATE, 1, 1).feed(low[:, :half], enhanced[..., :half]), expected[..., :half]
    )
