"""The gain of the upper band: follows removal, never above one, block sizes do not matter, causal."""

from __future__ import annotations

import numpy as np
import pytest

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


@pytest.mark.parametrize("silence", [0.0, 0.008, 0.5])
def test_a_beginning_and_the_end_of_a_gap_have_the_gain_of_their_sound(silence: float) -> None:
    """Loud at first, removed after digital silence; a stream may begin with silence, too."""
    loud, removed = noise(0.5), noise(0.5, seed=1)
    gap = np.zeros((1, round(silence * RATE)), np.float32)
    alone = np.concatenate((gap, removed), axis=-1)
    gain = RemovalGain(RATE, 1, 1).feed(alone, np.float32(0.01) * alone[None])[0, 0, gap.shape[1] :]
    np.testing.assert_allclose(gain[1:], 0.01, rtol=1e-3)
    if silence < 0.1:
        return  # the gain needs a whole silent block to forget what was
    low = np.concatenate((loud, alone), axis=-1)
    enhanced = np.concatenate((loud, 0.01 * alone), axis=-1)
    gain = RemovalGain(RATE, 1, 1).feed(low, enhanced[None])[0, 0]
    np.testing.assert_array_equal(gain[loud.shape[1] : -removed.shape[1]], 1.0)
    np.testing.assert_allclose(gain[-removed.shape[1] + 1 :], 0.01, rtol=1e-3)


def test_a_gap_keeps_the_gain() -> None:
    removed = noise(0.5)
    low = np.concatenate((removed, np.zeros((1, RATE), np.float32), removed), axis=-1)
    gain = RemovalGain(RATE, 1, 1).feed(low, np.float32(0.01) * low[None])[0, 0]
    np.testing.assert_allclose(gain[1:], 0.01, rtol=1e-3)


def test_stems_together_never_hold_more_than_the_input() -> None:
    first, second = noise(0.5), noise(0.5, seed=1)
    first[:, RATE // 4 :] *= 0.1
    gain = RemovalGain(RATE, 2, 1).feed(first + second, np.stack((first, second)))
    assert gain.sum(0).max() <= 1 + 1e-6
    assert gain[:, 0, RATE // 8].min() > 0.4
    assert gain[0, 0, -1] < 0.2 < 0.8 < gain[1, 0, -1]


def test_stems_share_what_lies_above_a_silent_band() -> None:
    silence = np.zeros((1, RATE), np.float32)
    gain = RemovalGain(RATE, 2, 1).feed(silence, np.stack((silence, silence)))
    np.testing.assert_array_equal(gain, 0.5)


def test_blocks_do_not_matter_and_the_future_neither() -> None:
    low = noise(0.5)
    low[:, 5000:12000] = 0
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
