"""Metrics of a restored band: right for known errors, and blind to inaudible differences."""

from __future__ import annotations

import numpy as np
import pytest
from kit.scores import RATE, measure

from audiotool.metrics.base import Pair, Unscorable, metric_names

EDGE = 4000.0


def speech(seed: int = 0, upper: float = 1.0) -> np.ndarray:
    """Two seconds of a buzz and a hiss that take turns, and a pause; the band above 4 kHz times `upper`."""
    rng = np.random.default_rng(seed)
    t = np.arange(2 * RATE) / RATE
    buzz = sum(np.sin(2 * np.pi * 125 * k * t) / k for k in range(1, 60))
    turn = (t % 0.5 < 0.25).astype(float)
    x = 0.1 * buzz * turn + 0.05 * rng.standard_normal(len(t)) * (1 - turn)
    x[t > 1.75] = 0
    spectrum = np.fft.rfft(x)
    spectrum[np.fft.rfftfreq(len(x), 1 / RATE) > EDGE] *= upper
    return np.fft.irfft(spectrum, len(x))


def pair(estimate: np.ndarray) -> Pair:
    return Pair(speech(), estimate, RATE, EDGE)


def test_a_family() -> None:
    names = ["restored_voiced", "restored_unvoiced", "restored_correlation", "restored_lsd"]
    assert sorted(metric_names(["restored"])) == sorted(names)


def test_nothing_is_wrong_with_the_reference() -> None:
    p = pair(speech())
    assert measure("restored_voiced", p) == pytest.approx(0, abs=1e-6)
    assert measure("restored_unvoiced", p) == pytest.approx(0, abs=1e-6)
    assert measure("restored_correlation", p) == pytest.approx(1)
    assert measure("restored_lsd", p) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("gain_db", [-6.0, 3.0])
def test_a_gain_of_the_band(gain_db: float) -> None:
    p = pair(speech(upper=10 ** (gain_db / 20)))
    assert measure("restored_voiced", p) == pytest.approx(gain_db, abs=0.5)
    assert measure("restored_unvoiced", p) == pytest.approx(gain_db, abs=0.2)
    assert measure("restored_lsd", p) == pytest.approx(abs(gain_db) / 10, abs=0.06)
    assert measure("restored_correlation", p) > 0.99


@pytest.mark.parametrize("gain", [1e-4, 30.0])
def test_nothing_depends_on_the_level(gain: float) -> None:
    estimate = speech(upper=0.5) + 0.001 * speech(seed=1)
    loud, quiet = pair(estimate), Pair(gain * speech(), gain * estimate, RATE, EDGE)
    for name in metric_names(["restored"]):
        assert measure(name, quiet) == pytest.approx(measure(name, loud), abs=0.05), name


def test_voiced_and_unvoiced_frames_are_distinguished() -> None:
    """A band that is right in the hiss and 20 dB too weak in the buzz."""
    t = np.arange(2 * RATE) / RATE
    turn = t % 0.5 < 0.25
    p = pair(np.where(turn, speech(upper=0.1), speech()))
    assert measure("restored_voiced", p) < -8  # frames in between are half of each
    assert measure("restored_unvoiced", p) == pytest.approx(0, abs=1.0)


@pytest.mark.parametrize("rate", [11025, 22050])
@pytest.mark.parametrize("name", ["restored_voiced", "restored_unvoiced"])
def test_voicing_stays_in_step_with_the_frames_of_long_recordings(name: str, rate: int) -> None:
    """Buzz and hiss, whose band is 12 dB too weak, take turns: 80 seconds score as the first four."""
    t = np.arange(80 * rate) / rate
    buzz = sum(np.sin(2 * np.pi * 150 * k * t + k * k) for k in range(1, rate // 300))
    hiss = 3 * np.random.default_rng(0).standard_normal(len(t))
    reference = 0.01 * np.where(t % 1 < 0.5, buzz, hiss)
    spectrum = np.fft.rfft(reference)
    spectrum[np.fft.rfftfreq(len(t), 1 / rate) < rate / 4] = 0
    estimate = reference - np.where(t % 1 < 0.5, 0.0, 0.75) * np.fft.irfft(spectrum, len(t))
    whole, beginning = (Pair(reference[:n], estimate[:n], rate, rate / 4) for n in (len(t), 4 * rate))
    assert measure(name, whole) == pytest.approx(measure(name, beginning), abs=0.5)


def test_a_floor_fools_none_of_them() -> None:
    """Noise 70 dB below speech fills what was empty: the plain distance falls, these stay."""
    empty = speech(upper=0.0)
    rng = np.random.default_rng(1)
    filled = empty + 3e-5 * rng.standard_normal(len(empty))
    before, after = pair(empty), pair(filled)
    assert measure("lsd_high", after) < measure("lsd_high", before) - 1
    for name in metric_names(["restored"]):
        assert measure(name, after) == pytest.approx(measure(name, before), abs=0.05), name
    assert measure("restored_unvoiced", before) < -20
    assert measure("restored_correlation", before) == pytest.approx(0, abs=0.05)


def test_a_constant_hiss_has_energy_and_no_correlation() -> None:
    hiss = speech(upper=0.0) + 0.05 * np.random.default_rng(1).standard_normal(2 * RATE)
    p = pair(hiss)
    assert abs(measure("restored_correlation", p)) < 0.25
    assert measure("restored_voiced", p) > 3


def test_the_edge_is_where_the_input_ended() -> None:
    """What is wrong below it does not count."""
    x = speech()
    spectrum = np.fft.rfft(x)
    spectrum[np.fft.rfftfreq(len(x), 1 / RATE) < EDGE - 200] *= 0.5
    p = Pair(x, np.fft.irfft(spectrum, len(x)), RATE, EDGE)
    assert measure("restored_lsd", p) < 0.05
    wider = Pair(p.reference, p.estimate, RATE, 1000.0)
    assert measure("restored_lsd", wider) > 0.2
    # Not known, or where nothing is left above it: the upper half of the band.
    for edge in (None, 7900.0):
        with_edge = Pair(p.reference, p.estimate, RATE, edge)
        assert measure("restored_lsd", with_edge) == pytest.approx(measure("restored_lsd", p), abs=0.01)


def test_analysis_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = speech(upper=0.5)
    whole = {name: measure(name, pair(estimate)) for name in metric_names(["restored"])}
    monkeypatch.setattr("audiotool.metrics.restored_band.BLOCK", 777)
    for name, value in whole.items():
        assert measure(name, pair(estimate)) == pytest.approx(value, rel=1e-6), name


def test_unscorable_pairs_have_a_reason() -> None:
    low = speech(upper=0.0)
    with pytest.raises(Unscorable, match="nothing of the restored band is audible"):
        measure("restored_lsd", Pair(low, low, RATE, EDGE + 500))
    with pytest.raises(Unscorable, match="never changes"):
        measure("restored_correlation", Pair(low, low, RATE, EDGE + 500))
    hiss = np.random.default_rng(0).standard_normal(RATE)
    with pytest.raises(Unscorable, match="no voiced frame"):
        measure("restored_voiced", Pair(hiss, hiss, RATE, EDGE))
    with pytest.raises(Unscorable, match="silent"):
        measure("restored_lsd", Pair(np.zeros(RATE), hiss, RATE, EDGE))
