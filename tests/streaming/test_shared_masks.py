"""Channels are separated by the masks of their mono mix: a stem is one speaker in all of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import soxr
from kit.audio import speech_like

import audiotool
from audiotool.audio.mono import PART
from audiotool.errors import StreamError
from audiotool.streaming.downmix import FIRST_PART, RAMP, StreamingDownmix
from audiotool.streaming.shared_masks import GREATEST, SharedMasks

RATE = 16000


def talkers(seconds: float = 2.0) -> np.ndarray:
    """(2, time): a low and a high band of noise, which speak at times alone and at times together."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.fft.rfft(np.random.default_rng(0).standard_normal((2, len(time))))
    hertz = np.fft.rfftfreq(len(time), 1 / RATE)
    bands = np.fft.irfft(noise * [hertz < 1500, hertz > 2500], len(time))
    speaks = np.stack([np.sin(2 * np.pi * time) > -0.5, np.cos(2 * np.pi * time) > -0.5])
    return (0.1 * bands * speaks).astype(np.float32)


def separated(channels: np.ndarray, stems: np.ndarray, sizes: tuple[int, ...] = (256,)) -> np.ndarray:
    """The stems of the channels, of a model that knows those of the mix and gives them 300 samples late."""
    masks, parts, fed, given = SharedMasks(RATE, len(stems), len(channels)), [], 0, 0
    for size in itertools.cycle(sizes):
        block = channels[:, fed : fed + size]
        masks.mix(block)
        fed += block.shape[-1]
        known = fed if fed == channels.shape[-1] else max(given, fed - 300)
        parts.append(masks.feed(stems[:, None, given:known]))
        given = known
        assert sum(part.shape[-1] for part in parts) >= given - masks.latency
        if given == channels.shape[-1]:
            return np.concatenate((*parts, masks.flush()), axis=-1)
    raise AssertionError


def decibels(signal: np.ndarray) -> float:
    return float(10 * np.log10(np.square(signal).mean() + 1e-12))


@pytest.mark.parametrize("gains", [(1.0, 1.0), (1.0, 0.3, 0.0), (1.0, 1.0, -0.5)])
def test_channels_that_differ_in_level_get_the_stems_at_their_levels(gains: tuple[float, ...]) -> None:
    voices = talkers()
    channels = np.outer(gains, voices.sum(0)).astype(np.float32)
    stems = separated(channels, voices * np.float32(np.mean(gains)))
    expected = voices[:, None] * np.array(gains)[:, None]
    assert stems.shape == expected.shape
    np.testing.assert_allclose(stems, expected, atol=0.002)


def test_a_voice_in_each_channel_is_in_one_stem_and_in_one_channel() -> None:
    voices = talkers()
    stems = separated(voices, voices / 2)
    for speaker, channel in itertools.product(range(2), range(2)):
        loss = decibels(stems[speaker, channel] - (voices[speaker] if speaker == channel else 0))
        assert loss < decibels(voices[speaker]) - 25


def test_a_stem_holds_one_speaker_in_channels_of_other_levels_and_delays() -> None:
    low, high = talkers()
    left, right = low + 0.4 * high, 0.5 * np.roll(low, 9) + np.roll(high, -7)
    stems = separated(np.stack([left, right]), np.stack([low + np.roll(low, 9) / 2, 0.4 * high + high]) / 2)
    spec = np.square(np.abs(np.fft.rfft(stems)))
    below = np.fft.rfftfreq(stems.shape[-1], 1 / RATE) < 2000
    share = spec[..., below].sum(-1) / spec.sum(-1)
    assert (share[0] > 0.98).all()
    assert (share[1] < 0.02).all()


def test_sound_that_the_mix_cancels_is_not_amplified_without_limit() -> None:
    voices = talkers()
    channels = np.stack([voices[0], 1e-4 * voices[1] - voices[0]])
    stems = separated(channels, voices)
    assert (np.square(stems).sum((0, 2)) < 2 * GREATEST**2 * np.square(channels).sum(1)).all()


def test_silence_stays_silent() -> None:
    silence = np.zeros((2, RATE), np.float32)
    assert not separated(silence, silence).any()


@pytest.mark.parametrize("sizes", [(1, 100, 255, 256, 257, 3000), (7,), (10**6,)])
def test_blocks_do_not_matter(sizes: tuple[int, ...]) -> None:
    voices = talkers(0.7)
    np.testing.assert_allclose(separated(voices, voices / 2, sizes), separated(voices, voices / 2), atol=1e-6)


@pytest.mark.parametrize("length", [0, 1, 255, 256, 511, 512, 700])
def test_outputs_are_as_long_as_the_input(length: int) -> None:
    assert separated(talkers()[:, :length], talkers()[:, :length]).shape == (2, 2, length)


@pytest.mark.parametrize("size", [100, FIRST_PART, 3 * PART])
@pytest.mark.parametrize("silent", [0, 2 * PART])
def test_opposite_channels_are_lost_for_the_first_part_of_a_sound(size: int, silent: int) -> None:
    voice = talkers()[:1].repeat(2, 0) * np.array([[1], [-1]], np.float32)
    voice[:, :silent] = 0
    downmix, length = StreamingDownmix(2), voice.shape[-1]
    mixed = np.concatenate([downmix.feed(voice[:, n : n + size]) for n in range(0, length, size)], axis=-1)
    begin = silent + FIRST_PART
    assert not mixed[:, :begin].any()
    begin += RAMP
    np.testing.assert_allclose(np.abs(mixed[0, begin:]), np.abs(voice[0, begin:]), atol=1e-6)


def test_a_polarity_that_changes_late_is_lost_for_one_long_part() -> None:
    voice = talkers()[:1].repeat(2, 0)
    voice[1, 2 * PART :] *= -1
    mixed = StreamingDownmix(2).feed(voice)
    # The parts of 1, 2, 4 and 8 first parts end before a long one that holds the change.
    end = 2 * PART + (15 * FIRST_PART - 2 * PART) % PART + RAMP
    np.testing.assert_allclose(mixed[0, : 2 * PART], voice[0, : 2 * PART], atol=1e-6)
    np.testing.assert_allclose(np.abs(mixed[0, end + PART :]), np.abs(voice[0, end + PART :]), atol=1e-6)


@pytest.mark.parametrize("idle", ["offset of one bit", "offset and noise", "rumble"])
def test_idle_channels_decide_nothing_about_the_sound_that_follows(idle: str) -> None:
    noise = np.random.default_rng(1).standard_normal((2, 2 * RATE))
    differs = {
        "offset of one bit": np.full((2, 2 * RATE), 2.0**-15),
        "offset and noise": 1e-3 + 1e-4 * noise,
        "rumble": 3e-3 * np.sin(2 * np.pi * 15 * np.arange(2 * RATE) / RATE)[None].repeat(2, 0),
    }[idle] * np.array([[1], [-1]])
    voice = talkers()[0]
    voice[:RATE] = 0
    channels = (voice + differs).astype(np.float32)
    np.testing.assert_allclose(StreamingDownmix(2).feed(channels)[0], channels.mean(0), atol=1e-6)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("rate", [RATE, 48000])
def test_opposite_channels_of_a_quiet_recording_are_not_lost(rate: int, ahead: bool) -> None:
    voice = soxr.resample(speech_like(3.0, RATE)[0], RATE, rate)
    voice *= 10 ** (-68 / 20) / np.sqrt(np.square(voice).mean())
    mixed = StreamingDownmix(2, ahead).feed(np.stack((voice, -voice)).astype(np.float32))[0]
    second = slice(rate, 2 * rate)
    np.testing.assert_allclose(np.abs(mixed[second]), np.abs(voice[second]), atol=1e-7)


def interview() -> np.ndarray:
    """(2, time): 1.5 s in opposite channels, 1.5 s in equal ones, 1.5 s in the left, 3 s in the right."""
    voice = np.random.default_rng(2).normal(0, 0.1, 7 * RATE + RATE // 2)
    time = np.arange(len(voice)) / RATE
    left = np.where(time < 4.5, 1, 0)
    right = np.select([time < 1.5, time < 3, time < 4.5], [-1, 1, 0], 1)
    return (voice * np.stack((left, right))).astype(np.float32)


@pytest.mark.parametrize("ahead", [False, True])
def test_no_sound_is_lost_to_the_end(ahead: bool) -> None:
    channels = interview()
    downmix = StreamingDownmix(2, ahead)
    mixed = np.concatenate((downmix.feed(channels), downmix.flush()), axis=-1)[0]
    assert mixed.shape == channels.shape[1:]
    # In pieces of 20 ms; a channel alone has half of the amplitude in the mean.
    pieces = [np.sqrt(np.square(x.reshape(-1, 320)).mean(1)) for x in (mixed, np.abs(channels).max(0))]
    lost = pieces[0] < 0.4 * pieces[1]
    runs = [len(list(run)) for is_lost, run in itertools.groupby(lost) if is_lost]
    # The rest of the part in which a sound begins, and without a look ahead the next part.
    assert max(runs) <= (1 if ahead else 2) * PART // 320
    assert not lost[-2 * RATE // 320 :].any()


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("size", [37, FIRST_PART, 10**6])
def test_blocks_do_not_matter_where_the_mix_changes(size: int, ahead: bool) -> None:
    channels = interview()
    mixed = []
    for step in (size, 700):
        downmix = StreamingDownmix(2, ahead)
        blocks = [downmix.feed(channels[:, n : n + step]) for n in range(0, channels.shape[1], step)]
        mixed.append(np.concatenate((*blocks, downmix.flush()), axis=-1))
    np.testing.assert_allclose(mixed[0], mixed[1], atol=1e-6)


def test_the_mix_changes_without_a_click() -> None:
    tone = 0.5 * np.cos(2 * np.pi * 200 * np.arange(RATE) / RATE)
    mixed = StreamingDownmix(2).feed(np.stack((tone, -tone)).astype(np.float32))[0]
    assert mixed.any()
    assert np.abs(np.diff(mixed)).max() < np.abs(np.diff(tone)).max() + 0.51 / RAMP


@pytest.mark.parametrize("damage", [{"_length": -1}, {"_filled": 10**6}, {"how": 7}])
def test_a_damaged_state_of_the_mix_is_refused(damage: dict[str, int]) -> None:
    downmix = StreamingDownmix(2)
    downmix.feed(talkers()[:, :1500])
    continued = StreamingDownmix(2)
    continued.restore(downmix.state())
    rest = talkers()[:, 1500:]
    np.testing.assert_array_equal(continued.feed(rest), downmix.feed(rest))
    with pytest.raises(StreamError, match="damaged"):
        continued.restore({**downmix.state(), **damage})


def test_a_downmix_continues_within_a_part() -> None:
    voice = talkers()[:1].repeat(2, 0) * np.array([[1], [-1]], np.float32)
    downmix, other = StreamingDownmix(2), StreamingDownmix(2)
    downmix.feed(voice[:, : PART - 100])
    other.restore(downmix.state())
    rest = voice[:, PART - 100 : 2 * PART]
    np.testing.assert_array_equal(other.feed(rest), downmix.feed(rest))


@pytest.fixture(scope="module")
def separator() -> audiotool.Pipeline:
    return audiotool.load("two-speakers-16k", engine="onnx")


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_mono_recording_in_two_channels_is_separated_as_in_one(
    separator: audiotool.Pipeline, rate: int
) -> None:
    x = speech_like(1.0, rate)
    stems = separator(np.concatenate((x, 0.5 * x)), rate)
    alone = separator(0.75 * x, rate)
    quiet = 0.02 * np.abs(x).max()
    np.testing.assert_allclose(stems[:, 1], 0.5 * stems[:, 0], atol=quiet)
    np.testing.assert_allclose(stems[:, 0], alone[:, 0] / 0.75, atol=quiet)


def test_live_streams_share_masks_too(separator: audiotool.Pipeline) -> None:
    x = np.stack([speech_like(0.5, 16000)[0], np.zeros(8000, np.float32)])
    live = separator.live(16000, 2)
    parts = [live.feed(x[:, n : n + 100]) for n in range(0, 8000, 100)]
    stems = np.concatenate([*parts, live.flush()], axis=-1)
    assert stems.shape == (2, 2, 8000)
    assert live.latency == separator.live(16000, 1).latency + 256
    assert np.abs(stems[:, 0]).max() > 0.01
    assert not stems[:, 1].any()
    shared = separator.streams(1).join(16000, 2)  # one row for both channels
    shared.push(x)
    assert shared.flush().shape == stems.shape
