"""Interchangeable stems are in one order in all channels, however the stream is cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from audiotool.streaming.first_pass import heard_alike
from audiotool.streaming.stem_order import BLOCK_SECONDS, StemOrder

RATE = 8000


def talkers(count: int = 2, seconds: float = 6.0) -> np.ndarray:
    """(stems, time): noises, each as loud as its own syllables say."""
    rng = np.random.default_rng(0)
    length = round(seconds * RATE)
    syllables = rng.uniform(0, 1, (count, round(seconds * 6))) ** 3
    envelopes = np.repeat(syllables, -(-length // syllables.shape[1]), axis=1)[:, :length]
    return (0.3 * envelopes * rng.standard_normal((count, length))).astype(np.float32)


def channels_of(stems: np.ndarray, orders: list[list[int]]) -> np.ndarray:
    """(stems, channels, time): channel c has the stems in orders[c], each a little later and softer."""
    return np.stack([0.8**n * np.roll(stems[order], 3 * n, axis=-1) for n, order in enumerate(orders)], 1)


@pytest.mark.parametrize("orders", [[[0, 1], [1, 0]], [[1, 0], [1, 0], [0, 1]], [[2, 0, 1], [0, 1, 2]]])
def test_channels_follow_the_first(orders: list[list[int]]) -> None:
    stems = talkers(len(orders[0]))
    output = StemOrder(RATE, len(stems), len(orders)).feed(channels_of(stems, orders))
    expected = channels_of(stems, [orders[0]] * len(orders))
    # Who is who shows when they have spoken for a while.
    np.testing.assert_array_equal(output[..., 2 * RATE :], expected[..., 2 * RATE :])
    np.testing.assert_array_equal(output[:, 0], expected[:, 0])


def test_an_exchange_in_the_middle_is_undone_and_no_sample_is_lost() -> None:
    stems = talkers(seconds=12.0)
    half = 6 * RATE
    before = channels_of(stems, [[0, 1], [0, 1]])
    mixed = before.copy()
    mixed[..., half:] = channels_of(stems, [[0, 1], [1, 0]])[..., half:]
    output = StemOrder(RATE, 2, 2).feed(mixed)
    np.testing.assert_array_equal(output[..., -3 * RATE :], before[..., -3 * RATE :])
    np.testing.assert_allclose(output.sum(0), mixed.sum(0), atol=1e-6)
    exchanged = np.abs(output[0, 1] - mixed[0, 1]) > 0
    assert exchanged.argmax() > half
    # One order is faded into the other: no sample leaps.
    share = np.diff(exchanged.astype(int))
    assert (share == 1).sum() >= 1
    assert round(BLOCK_SECONDS * RATE) > 1


@pytest.mark.parametrize("sizes", [[1, 100, 255, 256, 257, 3000], [7], [10**6]])
def test_blocks_do_not_matter(sizes: list[int]) -> None:
    signals = channels_of(talkers(), [[0, 1], [1, 0]])
    whole = StemOrder(RATE, 2, 2).feed(signals)
    order, parts, begin = StemOrder(RATE, 2, 2), [], 0
    for size in itertools.cycle(sizes):
        parts.append(order.feed(signals[..., begin : begin + size]))
        begin += size
        if begin >= signals.shape[-1]:
            break
    np.testing.assert_allclose(np.concatenate(parts, axis=-1), whole, atol=1e-6)


def test_silence_and_equals_stay_as_they_are() -> None:
    for signals in (np.zeros((2, 3, RATE), np.float32), np.repeat(talkers(1)[:, None], 2, axis=0)):
        np.testing.assert_array_equal(StemOrder(RATE, 2, signals.shape[1]).feed(signals), signals)


@pytest.mark.parametrize("sign", [1, -1])
def test_what_channels_hear_alike_keeps_their_levels(sign: int) -> None:
    voice = talkers(1)[0]
    heard = heard_alike(np.stack([voice, sign * 0.25 * voice]))
    np.testing.assert_allclose(heard, np.stack([voice, 0.25 * voice]), atol=1e-5)
    assert not heard_alike(np.zeros((2, 100), np.float32)).any()
