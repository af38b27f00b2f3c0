"""Composite measures against another implementation, ratios of interference against their definition."""

from __future__ import annotations

import numpy as np
import pytest
from kit.audio import speech_like
from kit.scores import noisy_pair

from audiotool.metrics import composite
from audiotool.metrics.base import METRICS, Pair, Unscorable
from audiotool.metrics.pesq import Pesq
from audiotool.metrics.score import score
from audiotool.metrics.sdr import LIMIT_DB, si_sdr

PYSEPM = {
    16000: {"llr": 0.7756708868740625, "wss": 15.580243092821753, "seg_snr": 2.5051183835026256},
    8000: {"llr": 0.6016575018143088, "wss": 19.240300347310786, "seg_snr": 2.5592313514218987},
}
"""Scores of pysepm-evo 0.1.1 for `noisy_pair`."""


@pytest.mark.parametrize("sample_rate", list(PYSEPM))
def test_parts_are_those_of_another_implementation(sample_rate: int) -> None:
    for name, expected in PYSEPM[sample_rate].items():
        assert noisy_pair(sample_rate=sample_rate).measured(METRICS.get(name)) == pytest.approx(
            expected, rel=1e-9
        )


@pytest.mark.parametrize(("frames", "kept"), [(30, 29), (50, 48), (70, 67), (110, 105), (1, 1), (9, 9)])
def test_as_many_frames_count_as_in_matlab(monkeypatch: pytest.MonkeyPatch, frames: int, kept: int) -> None:
    """Its `round` takes 28.5 to 29; Python's takes it to 28."""
    rising = np.linspace(0, composite.HIGHEST_LLR, frames)
    monkeypatch.setattr(composite, "_of_frames", lambda *_: rising[::-1])
    for name in ("wss", "llr"):
        assert METRICS.get(name)().measure(noisy_pair(0.1)) == np.mean(rising[:kept])


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composite, "FRAMES", 7)
    test_parts_are_those_of_another_implementation(16000)


def test_composites_are_the_published_sums() -> None:
    p = noisy_pair()
    llr, wss, snr = (p.measured(METRICS.get(name)) for name in ("llr", "wss", "seg_snr"))
    pesq = p.measured(METRICS.get("pesq"))
    assert p.measured(METRICS.get("csig")) == pytest.approx(3.093 - 1.029 * llr + 0.603 * pesq - 0.009 * wss)
    assert p.measured(METRICS.get("cbak")) == pytest.approx(1.634 + 0.478 * pesq - 0.007 * wss + 0.063 * snr)
    assert p.measured(METRICS.get("covl")) == pytest.approx(1.594 + 0.805 * pesq - 0.512 * llr - 0.007 * wss)


def test_equal_signals_score_best_and_bad_ones_stay_on_the_scale() -> None:
    clean = noisy_pair().reference
    same = score(clean, clean, 16000, ["llr", "wss", "seg_snr", "csig", "cbak", "covl"])
    assert same["llr"].value == pytest.approx(0, abs=1e-6)
    assert same["wss"].value == pytest.approx(0, abs=1e-6)
    assert same["seg_snr"].value == pytest.approx(35)
    assert same["csig"].value == same["covl"].value == 5
    bad = score(clean, np.random.default_rng(2).standard_normal(len(clean)), 16000, ["csig", "cbak", "covl"])
    assert all(v.value is not None and 1 <= v.value < 1.5 for v in bad.values())


def test_composites_share_one_pesq(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = Pesq.measure

    def counted(self: Pesq, measured: Pair) -> float:
        calls.append(measured)
        return real(self, measured)

    monkeypatch.setattr(Pesq, "measure", counted)
    p = noisy_pair()
    score(p.reference, p.estimate, 16000, ["pesq", "csig", "cbak", "covl"])
    assert len(calls) == 1


def test_digital_silence_inside_costs_nothing() -> None:
    p = noisy_pair()
    p.reference[16000:24000] = 0
    found = score(p.reference, p.estimate, 16000, ["llr", "wss", "seg_snr"])
    assert all(value.value is not None for value in found.values())
    nothing = score(np.zeros(16000), p.estimate, 16000, ["llr", "csig"])
    assert [v.reason for v in nothing.values()] == ["the reference is silent"] * 2
    with pytest.raises(Unscorable, match="too short"):
        METRICS.get("wss")().measure(Pair(p.reference[:400], p.estimate[:400], 16000))


def test_interference_and_artefacts_of_known_size() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((4000, 4)) - rng.standard_normal((4000, 4)).mean(axis=0))[0].T
    basis -= basis.mean(axis=1, keepdims=True)
    basis = np.linalg.qr(basis.T)[0].T
    target, first, second, artefact = basis
    estimate = 3 * (target + 0.1 * first + 0.01 * artefact)
    p = Pair(target, estimate, 16000, interferers=(first + 0.5 * target, second))
    assert p.measured(METRICS.get("si_sir")) == pytest.approx(20, abs=1e-6)
    assert p.measured(METRICS.get("si_sar")) == pytest.approx(40, abs=1e-6)


def test_powers_of_interference_and_artefacts_add_up_to_those_of_distortion() -> None:
    p = noisy_pair()
    other = speech_like(3.0, 16000, seed=4)[0].astype(np.float64) ** 3
    mixed = Pair(p.reference, p.estimate + 0.3 * other, 16000, interferers=(other,))
    sir, sar = mixed.measured(METRICS.get("si_sir")), mixed.measured(METRICS.get("si_sar"))
    expected = si_sdr(mixed.reference, mixed.estimate)
    assert -10 * np.log10(10 ** (-sir / 10) + 10 ** (-sar / 10)) == pytest.approx(expected, abs=1e-6)


def test_interference_that_is_not_known_or_not_there() -> None:
    p = noisy_pair()
    for name in ("si_sir", "si_sar"):
        with pytest.raises(Unscorable, match="the other sources are not known"):
            METRICS.get(name)().measure(p)
    clean = Pair(p.reference, p.estimate, 16000, interferers=(np.zeros(len(p.reference)),))
    assert clean.measured(METRICS.get("si_sir")) == LIMIT_DB
