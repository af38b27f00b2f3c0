"""Effects of augmentation and of synthetic noises, measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import scipy.signal
from kit.tones import RATE, tone

from audiotool.data import augment, synthetic
from audiotool.data.config import AugmentationConfig, SyntheticKind
from audiotool.data.synthetic import events, stationary

Rng = np.random.Generator


@pytest.fixture
def rng() -> Rng:
    return np.random.default_rng(0)


def peak_hz(x: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(x * np.hanning(len(x)))).argmax()) * RATE / len(x)


@pytest.mark.parametrize("speed", [0.85, 1.0, 1.13, 1.4])
def test_speed_moves_pitch(speed: float) -> None:
    source = tone(400, 3.0)[: augment.source_frames(RATE, speed)]
    changed = augment.change_speed(source, speed, RATE)
    assert changed.shape == (RATE,)
    assert peak_hz(changed) == pytest.approx(400 * speed, abs=2)


@pytest.mark.parametrize("factor", [0.85, 1.0, 1.18])
def test_formants_move_and_pitch_stays(factor: float) -> None:
    # A voice of 125 Hz with resonances at 700 and 2200 Hz.
    voice = np.zeros(RATE, np.float64)
    voice[:: RATE // 125] = 1
    for centre in (700, 2200):
        radius = np.exp(-np.pi * 120 / RATE)
        poles = [1, -2 * radius * np.cos(2 * np.pi * centre / RATE), radius**2]
        voice = scipy.signal.lfilter([1], poles, voice)
    source = (0.1 * voice / np.abs(voice).max()).astype(np.float32)
    changed = augment.change_formants(source, factor, RATE)
    assert changed.shape == source.shape
    assert changed.dtype == np.float32
    frequencies, power = scipy.signal.welch(changed, RATE, nperseg=256)
    for centre in (700, 2200):
        near = np.abs(frequencies - centre * factor) < 250
        # The nearest harmonic may be half a pitch away.
        assert frequencies[near][power[near].argmax()] == pytest.approx(centre * factor, abs=125)
    correlation = scipy.signal.correlate(changed, changed)[len(changed) - 1 :]
    assert 100 + correlation[100:200].argmax() == RATE // 125
    if factor == 1:
        assert np.abs(changed - source).max() < 1e-6


def test_formants_of_silence_are_silence() -> None:
    assert not augment.change_formants(np.zeros(4000, np.float32), 1.1, RATE).any()


@pytest.mark.parametrize("frames", [1, 160, 511])
def test_formants_of_less_than_a_window(frames: int) -> None:
    changed = augment.change_formants(tone(200, 1.0)[:frames], 1.1, RATE)
    assert changed.shape == (frames,)
    assert np.isfinite(changed).all()


def test_equaliser_stays_within_its_gains(rng: Rng) -> None:
    extremes = []
    for _ in range(50):
        _, response = scipy.signal.sosfreqz(augment.equaliser(rng, RATE, 6.0), fs=RATE)
        gains = 20 * np.log10(np.abs(response))
        extremes.append(np.abs(gains).max())
        # Three sections of at most 6 dB, all at one place.
        assert extremes[-1] <= 18.1
    assert np.mean(extremes) > 2


def test_shelves_and_bells_have_the_gain_asked_for() -> None:
    for sections, low, middle, high in (
        (augment._shelf(1000, 6, RATE, sign=1.0), 6, 3, 0),
        (augment._shelf(1000, 6, RATE, sign=-1.0), 0, 3, 6),
        (augment._bell(1000, -9, 1.0, RATE), 0, -9, 0),
    ):
        _, response = scipy.signal.sosfreqz(sections[None], worN=[1.0, 1000.0, 7999.0], fs=RATE)
        assert 20 * np.log10(np.abs(response)) == pytest.approx([low, middle, high], abs=0.05)


def test_band_limit_keeps_the_middle(rng: Rng) -> None:
    config = AugmentationConfig(low_pass_hz=(3400, 3400), high_pass_hz=(300, 300))
    for _ in range(10):
        sections = augment.band_limit(rng, RATE, config)
        _, response = scipy.signal.sosfreqz(sections, worN=[50.0, 1000.0, 6800.0], fs=RATE)
        low, middle, high = 20 * np.log10(np.abs(response))
        assert low < -25
        assert abs(middle) < 1
        assert high < -20


def test_clipping_cuts_peaks_and_keeps_the_rest(rng: Rng) -> None:
    speech = tone(200, 1.0)
    for _ in range(10):
        clipped = augment.clip(rng, speech, (6, 6))
        assert np.abs(clipped).max() <= np.abs(speech).max() * 10 ** (-6 / 20) * 1.0001
        quiet = np.abs(speech) < 0.05 * np.abs(speech).max()
        assert np.abs(clipped - speech)[quiet].max() < 0.01 * np.abs(speech).max()
    assert np.array_equal(augment.clip(rng, np.zeros(100, np.float32), (6, 6)), np.zeros(100))


def test_codecs_are_coarse_but_recognisable(rng: Rng) -> None:
    t = np.arange(2 * RATE) / RATE
    speech = (0.1 * np.random.default_rng(1).standard_normal(len(t)) + tone(200, 2.0)).astype(np.float32)
    for _ in range(20):
        coded = augment.codec(rng, speech, RATE)
        assert coded.shape == speech.shape
        assert coded.dtype == np.float32
        error = speech - coded
        snr = 10 * np.log10(np.sum(speech**2) / np.sum(error**2))
        assert 3 < snr < 45
        # In place: the best alignment is none.
        lags = [np.dot(speech[100:-100], np.roll(coded, lag)[100:-100]) for lag in (-3, 0, 3)]
        assert np.argmax(lags) == 1


def test_mu_law_is_the_published_one() -> None:
    x = np.array([1.0, 0.5, -0.25, 0.01], np.float32)
    coded = augment._logarithmic(x, bits=8)
    law = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)
    expected = np.sign(law) * (256 ** (np.round(np.abs(law) * 127) / 127) - 1) / 255
    assert coded == pytest.approx(expected, rel=1e-5)


def test_packet_loss_makes_gaps(rng: Rng) -> None:
    speech = np.ones(4 * RATE, np.float32)
    lossy = augment.packet_loss(rng, speech, RATE, (20, 40))
    lost = np.flatnonzero(lossy == 0)
    assert 4 * 0.018 * RATE < len(lost) < 12 * 0.04 * RATE
    assert lossy.max() == 1
    assert lossy.min() == 0
    short = augment.packet_loss(rng, np.ones(100, np.float32), RATE, (20, 40))
    assert short.shape == (100,)


def test_envelope_wanders_within_reach(rng: Rng) -> None:
    gains = augment.envelope(rng, 8 * RATE, RATE, 6.0)
    assert gains.shape == (8 * RATE,)
    assert gains.max() <= 10 ** (6 / 20) + 1e-6
    assert gains.min() >= 10 ** (-6 / 20) - 1e-6
    assert gains.max() / gains.min() > 1.3
    assert np.abs(np.diff(gains)).max() < 1e-3


def test_fades() -> None:
    gains = augment.fades(10, 2)
    assert gains.tolist() == [0, 0.5, 1, 1, 1, 1, 1, 1, 0.5, 0]
    assert augment.fades(3, 5).shape == (3,)


@pytest.mark.parametrize("name", sorted(synthetic.GENERATORS))
def test_generators_follow_their_seed(name: str) -> None:
    make: Callable[[Rng, int, int], np.ndarray] = synthetic.GENERATORS[name]
    for seed in range(10):
        for frames in (RATE, 2 * RATE + 17):
            sound = make(np.random.default_rng(seed), frames, RATE)
            assert sound.shape == (frames,)
            assert sound.dtype == np.float32
            assert np.isfinite(sound).all()
            assert sound.std() > 0
        assert np.array_equal(sound, make(np.random.default_rng(seed), frames, RATE))
        assert not np.array_equal(sound, make(np.random.default_rng(seed + 100), frames, RATE))


def share_below(x: np.ndarray, hertz: float) -> float:
    power = np.abs(np.fft.rfft(x)) ** 2
    return float(power[: int(hertz * len(x) / RATE)].sum() / power.sum())


def test_wind_rumbles_and_clicks_are_sparse() -> None:
    wind = [share_below(stationary.wind(np.random.default_rng(s), 4 * RATE, RATE), 1000) for s in range(10)]
    assert min(wind) > 0.8
    crest = []
    for seed in range(10):
        sound = stationary.clicks(np.random.default_rng(seed), 4 * RATE, RATE)
        crest.append(np.abs(sound).max() / sound.std())
    assert np.median(crest) > 8


def test_hum_is_harmonic() -> None:
    for seed in range(5):
        sound = stationary.hum(np.random.default_rng(seed), 4 * RATE, RATE)
        power = np.sort(np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2)[::-1]
        # Few lines hold nearly all of it.
        assert power[:200].sum() > 0.8 * power.sum()


def frames_of(x: np.ndarray, length: int) -> np.ndarray:
    return x[: len(x) // length * length].reshape(-1, length)


def unevenness_db(x: np.ndarray) -> float:
    """How far the loudest tenth of 20 ms frames is above the median of them."""
    levels = 10 * np.log10(frames_of(x, RATE // 50).var(axis=1) + 1e-9 * x.var())
    return float(np.quantile(levels, 0.9) - np.median(levels))


def tonality(x: np.ndarray) -> float:
    """Share of the power that the strongest 5 % of lines hold in frames of 64 ms."""
    frames = frames_of(x, 1024) * np.hanning(1024)
    power = np.sort(np.abs(np.fft.rfft(frames)) ** 2, axis=1)[:, ::-1]
    return float(power[:, :26].sum() / power.sum())


def median_of(measure: Callable[[np.ndarray], float], name: str) -> float:
    make = synthetic.GENERATORS[name]
    return float(np.median([measure(make(np.random.default_rng(s), 4 * RATE, RATE)) for s in range(20)]))


def test_events_begin_and_end_as_stationary_noises_do_not() -> None:
    for name in ("bursts", "calls", "water"):
        assert median_of(unevenness_db, name) > median_of(unevenness_db, "coloured") + 2


def test_calls_and_notes_are_tones_and_textures_are_not() -> None:
    for name in ("calls", "notes"):
        assert median_of(tonality, name) > median_of(tonality, "texture") + 0.15


def test_a_bubble_dies_away_at_a_pitch_that_rises() -> None:
    ring = events._bubble(1000.0, slow=0.5, rise=0.1, sample_rate=RATE)
    decay = 0.5 * (0.043 * 1000 + 0.0014 * 1000**1.5)
    half = len(ring) // 2
    fall = np.abs(ring[half:]).max() / np.abs(ring[:half]).max()
    assert fall == pytest.approx(np.exp(-decay * half / RATE), rel=0.1)

    def crossings(x: np.ndarray) -> int:
        return int(np.count_nonzero(np.diff(np.signbit(x))))

    assert crossings(ring[half:]) > 1.3 * crossings(ring[:half])
    level = events._bubble(1000.0, slow=0.5, rise=0.0, sample_rate=RATE)
    assert abs(crossings(level[half:]) - crossings(level[:half])) <= 1


def test_recipes_name_every_generator() -> None:
    assert set(get_args(SyntheticKind)) == set(synthetic.GENERATORS)


@pytest.mark.parametrize("name", sorted(synthetic.GENERATORS))
@pytest.mark.parametrize("rate", [8000, 48000])
def test_generators_sound_at_every_rate(name: str, rate: int) -> None:
    for seed in range(5):
        sound = synthetic.GENERATORS[name](np.random.default_rng(seed), rate // 2, rate)
        assert np.isfinite(sound).all()
        assert sound.std() > 0


@pytest.mark.parametrize("name", sorted(synthetic.GENERATORS))
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_generators_take_any_length(name: str, frames: int) -> None:
    for seed in range(5):
        sound = synthetic.GENERATORS[name](np.random.default_rng(seed), frames, RATE)
        assert sound.shape == (frames,)
        assert np.isfinite(sound).all()
