"""Each metric against another implementation, or against a value known by construction."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pystoi
import pytest
import torch
from kit.scores import RATE, measure, noisy_pair
from torchmetrics.functional.audio import (
    scale_invariant_signal_distortion_ratio,
    signal_distortion_ratio,
    signal_noise_ratio,
)

from audiotool.errors import InputError
from audiotool.metrics.base import METRICS, Pair, Unscorable, equal_parts, is_silent
from audiotool.metrics.sdr import LIMIT_DB, best_assignment, best_permutation, si_sdr
from audiotool.tasks.base import TASKS


def test_stoi_is_pystois() -> None:
    p = noisy_pair()
    assert measure("stoi", p) == pytest.approx(pystoi.stoi(p.reference, p.estimate, RATE))
    assert measure("estoi", p) == pytest.approx(pystoi.stoi(p.reference, p.estimate, RATE, extended=True))


def test_stoi_of_a_long_recording_is_the_mean_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiotool.metrics.stoi.WINDOW_S", 2)
    p = noisy_pair(4.0)
    half = 2 * RATE
    parts = [
        pystoi.stoi(p.reference[s], p.estimate[s], RATE) for s in (slice(0, half), slice(half, 2 * half))
    ]
    assert measure("stoi", p) == pytest.approx(np.mean(parts))
    p.reference[half:] = 0
    assert measure("stoi", p) == pytest.approx(parts[0])


@pytest.mark.parametrize("name", ["stoi", "estoi"])
def test_stoi_without_enough_sound(name: str) -> None:
    with pytest.raises(Unscorable, match="shorter than STOI"):
        measure(name, noisy_pair(0.3))
    with pytest.raises(Unscorable, match="the reference is silent"):
        measure(name, Pair(np.zeros(RATE), np.ones(RATE), RATE))
    with pytest.raises(Unscorable, match="a single sample is compared"):
        measure(name, Pair(np.ones(1), np.ones(1), RATE))
    mostly_silent = noisy_pair(2.0)
    mostly_silent.reference[1000:] = 0
    with pytest.raises(Unscorable, match="less than"):
        measure(name, mostly_silent)


def test_stoi_leaves_the_filters_of_warnings_alone(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    mostly_silent = noisy_pair(2.0)
    mostly_silent.reference[4000:] = 0
    # Filters belong to the process: of two threads that change them, one leaves its own behind.
    with monkeypatch.context() as patch:
        patch.setattr(warnings, "catch_warnings", None)
        with pytest.raises(Unscorable, match="less than"):
            measure("stoi", mostly_silent)
    assert not recwarn.list


def test_estoi_repeats_and_draws_nothing_of_the_callers() -> None:
    p = noisy_pair(2.0)
    p.estimate[:RATE] = 0
    np.random.seed(7)
    expected = np.random.rand()
    np.random.seed(7)
    first = measure("estoi", p)
    assert np.random.rand() == expected
    assert measure("estoi", p) == first


def test_ratios_are_torchmetrics() -> None:
    p = noisy_pair()
    estimate, reference = torch.from_numpy(p.estimate), torch.from_numpy(p.reference)
    expected = scale_invariant_signal_distortion_ratio(estimate, reference, zero_mean=True)
    assert measure("si_sdr", p) == pytest.approx(float(expected), abs=1e-6)
    assert measure("snr", p) == pytest.approx(float(signal_noise_ratio(estimate, reference)), abs=1e-6)
    assert measure("sdr", p) == pytest.approx(float(signal_distortion_ratio(estimate, reference)), abs=1e-4)


def test_invariances_of_the_ratios() -> None:
    p = noisy_pair()
    louder = Pair(p.reference, 3 * p.estimate + 0.1, RATE)
    assert measure("si_sdr", louder) == pytest.approx(measure("si_sdr", p), abs=1e-9)
    assert measure("snr", louder) < measure("snr", p) - 5
    echo = np.convolve(p.reference, [1.0, 0.5, 0.3])[: len(p.reference)]
    filtered = Pair(p.reference, echo, RATE)
    assert measure("sdr", filtered) > 40
    assert measure("si_sdr", filtered) < 30


def test_ratios_are_finite_at_their_ends() -> None:
    p = noisy_pair()
    same = Pair(p.reference, p.reference, RATE)
    assert measure("si_sdr", same) == measure("snr", same) == LIMIT_DB
    assert measure("sdr", same) <= LIMIT_DB
    orthogonal = np.tile([1.0, 1.0, -1.0, -1.0], 100)
    assert si_sdr(np.tile([1.0, -1.0], 200), orthogonal) == -LIMIT_DB
    for name in ("si_sdr", "sdr"):
        with pytest.raises(Unscorable, match="estimate is silent"):
            measure(name, Pair(p.reference, 0 * p.reference, RATE))


@pytest.mark.parametrize("gain", [1.0, 0.9, 0.5, -3.0])
def test_the_sdr_of_a_perfect_estimate_is_the_limit_however_it_is_rounded(gain: float) -> None:
    """Of low-passed noise, too, whose 512 shifts are nearly dependent: no rounding makes it null."""
    noise = np.random.default_rng(0).standard_normal(2 * RATE)
    for taps in (1, 20, 200):
        reference = np.convolve(noise, np.hanning(taps + 2), "valid")
        same = Pair(reference, gain * reference, RATE)
        assert measure("sdr", same) == pytest.approx(LIMIT_DB, abs=1e-4)


def test_the_sdr_of_what_has_nothing_in_common_is_the_other_limit() -> None:
    noise = np.convolve(np.random.default_rng(0).standard_normal(2 * RATE), np.hanning(200), "valid")
    early, late = noise.copy(), noise.copy()
    early[RATE // 2 :], late[:RATE] = 0, 0
    assert measure("sdr", Pair(early, late, RATE)) == -LIMIT_DB


def test_best_permutation_finds_the_shuffle() -> None:
    t = np.arange(RATE // 2) / RATE
    stems = np.stack([np.sin(2 * np.pi * f * t) for f in (200, 331, 470)])
    order = (2, 0, 1)
    shuffled = np.empty_like(stems)
    for reference, estimate in enumerate(order):
        shuffled[estimate] = stems[reference] + 0.1
    assert best_permutation(stems, shuffled) == order


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 4), (5, 3), (4, 5), (0, 2), (2, 0)])
def test_the_best_assignment_is_that_of_a_search_of_all(shape: tuple[int, int]) -> None:
    few = min(shape)
    for seed in range(20):
        ratios = np.random.default_rng(seed).normal(0, 30, shape)
        # Every other table has many equal sums.
        ratios = np.round(ratios / 30) if seed % 2 else ratios
        pairs = best_assignment(ratios)
        assert len(pairs) == len({r for r, _ in pairs}) == len({c for _, c in pairs}) == few
        every = itertools.product(*(itertools.permutations(range(n), few) for n in shape))
        best = max(sum(ratios[r, c] for r, c in zip(*lines, strict=True)) for lines in every)
        assert sum(ratios[pair] for pair in pairs) == pytest.approx(best)


def test_the_best_assignment_takes_what_has_no_ratio_last() -> None:
    ratios = np.array([[np.nan, 1, 9], [np.nan, 2, 3], [np.nan, 9, 1]])
    assert best_assignment(ratios) == [(0, 2), (1, 0), (2, 1)]
    assert best_assignment(ratios.T) == [(0, 1), (1, 2), (2, 0)]


def test_log_spectral_distance_of_a_gain() -> None:
    """A gain of 10 is 2 in log10 power at every bin."""
    p = noisy_pair(noise=0.0)
    noise = np.random.default_rng(0).standard_normal(RATE)
    assert measure("lsd", Pair(noise, 10 * noise, RATE)) == pytest.approx(2.0, abs=1e-3)
    assert measure("lsd_high", Pair(noise, 10 * noise, RATE)) == pytest.approx(2.0, abs=1e-3)
    assert measure("lsd", p) == 0.0


def test_high_band_is_the_upper_half() -> None:
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(RATE))
    low = spectrum.copy()
    low[len(low) // 2 :] *= 0.01
    full, cut = (np.fft.irfft(s, RATE) for s in (spectrum, low))
    high = measure("lsd_high", Pair(full, cut, RATE))
    assert high == pytest.approx(4.0, abs=0.3)
    assert measure("lsd", Pair(full, cut, RATE)) == pytest.approx(high / np.sqrt(2), abs=0.3)
    # If the input's content ends at a quarter of the band, three quarters count.
    wider = measure("lsd_high", Pair(full, cut, RATE, RATE / 8))
    assert wider == pytest.approx(high * np.sqrt(2 / 3), abs=0.2)
    assert measure("lsd_high", Pair(full, cut, RATE, RATE / 2)) == high


def test_mel_distance_of_a_gain() -> None:
    noise = np.random.default_rng(0).standard_normal(RATE)
    assert measure("mel_l1", Pair(noise, np.e * noise, RATE)) == pytest.approx(1.0, abs=1e-3)


def test_multi_resolution_distance_of_a_gain() -> None:
    """A gain g gives g - 1 for convergence and ln g for the log magnitude."""
    noise = np.random.default_rng(0).standard_normal(RATE)
    expected = 1 + np.log(2)
    assert measure("mrstft", Pair(noise, 2 * noise, RATE)) == pytest.approx(expected, abs=1e-3)


def test_spectral_metrics_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    p = noisy_pair(1.0)
    names = ("lsd", "lsd_high", "mel_l1", "mrstft")
    whole = {name: measure(name, p) for name in names}
    monkeypatch.setattr("audiotool.metrics.base.BLOCK", 777)
    for name in names:
        assert measure(name, p) == pytest.approx(whole[name], rel=1e-5)


def _tone(frequency: float, seconds: float = 1.0) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return 0.1 * np.sum([np.sin(2 * np.pi * frequency * k * t) / k for k in range(1, 8)], axis=0)


def test_pitch_errors_of_known_tones() -> None:
    assert measure("f0_rmse", Pair(_tone(200), _tone(210), RATE)) == pytest.approx(10, abs=0.5)
    assert measure("vuv_error", Pair(_tone(200), _tone(210), RATE)) < 3
    half = _tone(200)
    half[RATE // 2 :] = 0
    assert measure("vuv_error", Pair(_tone(200), half, RATE)) == pytest.approx(50, abs=3)


@pytest.mark.parametrize("gain", [1e-4, 1e-3, 1.0, 30.0])
def test_pitch_errors_do_not_depend_on_the_level(gain: float) -> None:
    """Speech of an F0 that the estimate misses, and whose level falls by 40 dB."""
    fall = np.geomspace(1, 0.01, RATE)
    reference, estimate = gain * fall * _tone(200), gain * fall * _tone(220)
    estimate[RATE // 2 :] = 0
    assert measure("f0_rmse", Pair(reference, estimate, RATE)) == pytest.approx(20, abs=1)
    assert measure("vuv_error", Pair(reference, estimate, RATE)) == pytest.approx(50, abs=3)


def test_pitch_needs_a_voice() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    with pytest.raises(Unscorable, match="no voiced frame"):
        measure("f0_rmse", Pair(noise, _tone(200), RATE))
    with pytest.raises(Unscorable, match="voiced in both"):
        measure("f0_rmse", Pair(_tone(200), noise, RATE))


def test_other_rates_are_resampled_once() -> None:
    p = noisy_pair(1.0, 44100)
    assert p.at(16000) is p.at(16000)
    assert len(p.at(16000).reference) == pytest.approx(16000, abs=1)
    assert p.at(44100).reference is p.reference


def test_every_task_names_known_metrics() -> None:
    known = METRICS.all()
    for task in TASKS.all().values():
        assert set(task.scoring.metrics) <= set(known)
        assert task.scoring.best in task.scoring.metrics


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'pesq'"):
        METRICS.get("pesk")


@pytest.mark.parametrize("length", [0, 1, 99, 100, 101, 1000, 1001])
def test_equal_parts_cover_all_and_are_no_longer(length: int) -> None:
    parts = equal_parts(length, 100)
    assert parts[0].start == 0
    assert parts[-1].stop == length
    assert all(a.stop == b.start for a, b in itertools.pairwise(parts))
    sizes = [p.stop - p.start for p in parts]
    assert max(sizes) <= 100
    assert max(sizes) - min(sizes) <= 1


def test_silence_is_about_change() -> None:
    assert is_silent(np.zeros(0))
    assert is_silent(np.full(10, 0.3))
    assert not is_silent(np.array([0.0, 2e-5]))
