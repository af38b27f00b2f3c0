"""Scores of a pair of signals: each metric has a number, or the reason why not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kit.audio import speech_like, write_speech
from kit.scores import FAST, RATE, noisy

import audiotool
from audiotool import extras
from audiotool.cli.metric_options import check_installed, chosen_metrics
from audiotool.errors import DependencyError, InputError
from audiotool.metrics.base import Pair
from audiotool.metrics.score import score, score_channels
from audiotool.metrics.sdr import SiSdr


def test_scores_by_name(clean: np.ndarray) -> None:
    values = score(clean[0], noisy(clean)[0], RATE, FAST)
    assert list(values) == FAST
    assert 0.5 < (values["stoi"].value or 0) < 1
    assert values["si_sdr"].reason is None


def test_lengths_that_differ_count_to_the_shorter(clean: np.ndarray) -> None:
    estimate = noisy(clean)[0]
    expected = score(clean[0, :22400], estimate[:22400], RATE, FAST)
    assert score(clean[0], estimate[:22400], RATE, FAST) == expected
    assert score(clean[0, :22400], estimate, RATE, FAST) == expected


def test_an_estimate_that_breaks_off_has_no_number(clean: np.ndarray) -> None:
    """It may lack 0.1 s, or 1 % where that is more."""
    for seconds, least in ((1.5, 1.4), (20.0, 19.8)):
        whole = np.resize(clean[0], round(seconds * RATE))
        kept = round(least * RATE)
        assert score(whole, whole[:kept], RATE, "snr")["snr"].value == 100
        found = score(whole, whole[: kept - 1], RATE, "snr")["snr"]
        assert found.value is None
        assert found.reason == (
            f"the estimate breaks off after {kept - 1} samples, where the reference has {len(whole)}"
        )


def test_samples_that_are_not_finite(clean: np.ndarray) -> None:
    broken = clean[0].copy()
    broken[7] = np.nan
    assert "the estimate holds samples that are" in str(score(clean[0], broken, RATE, FAST)["stoi"].reason)
    assert "the reference holds samples" in str(score(broken, clean[0], RATE, FAST)["si_sdr"].reason)


def test_nothing_to_compare(clean: np.ndarray) -> None:
    assert score(clean[0], clean[0, :0], RATE, FAST)["stoi"].reason == "there are no samples to compare"


def test_bad_calls(clean: np.ndarray) -> None:
    with pytest.raises(InputError, match="no metric is called 'foo'"):
        score(clean[0], clean[0], RATE, ["foo"])
    with pytest.raises(InputError, match=r"is \(time,\)"):
        score(clean, clean, RATE, FAST)


@pytest.mark.parametrize(
    ("interferers", "message"),
    [
        ([np.zeros((2, RATE))], r"interferers are a list of waveforms, each \(time,\), got shapes \[\(2,"),
        (np.zeros(9), r"each \(time,\), got shapes \[\(\), "),
        (None, r"each \(time,\), got None"),
        ([None], "floating point or int16, got object"),
        ([np.zeros(RATE, np.int32)], "floating point or int16, got int32"),
    ],
)
def test_bad_interferers(clean: np.ndarray, interferers: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        score(clean[0], clean[0], RATE, ["si_sir"], interferers=interferers)


def test_an_interferer_that_is_not_finite_costs_what_needs_it(clean: np.ndarray) -> None:
    broken = clean[0][::-1].copy()
    broken[7] = np.nan
    found = score(clean[0], noisy(clean)[0], RATE, ["si_sir", "si_sdr"], interferers=[broken])
    assert found["si_sir"].reason == "an interferer holds samples that are not finite"
    assert found["si_sdr"].value is not None


def test_samples_of_int16_and_tensors_have_the_full_scale_of_pipelines(clean: np.ndarray) -> None:
    reference, estimate = ((w * 32767).astype(np.int16) for w in (clean[0], noisy(clean)[0]))
    metrics = ["snr", "loudness", "si_sdr"]
    expected = score(reference / 32768, estimate / 32768, RATE, metrics)
    assert expected["loudness"].value is not None
    assert score(reference, estimate, RATE, metrics) == expected
    assert score(torch.from_numpy(reference), estimate / 32768, RATE, metrics) == expected
    with pytest.raises(InputError, match="floating point or int16, got int32"):
        score(reference.astype(np.int32), estimate, RATE, metrics)


@pytest.mark.parametrize("rate", [0, -1, "16000", None, 0.5])
def test_a_rate_is_a_whole_number_above_0(clean: np.ndarray, rate: Any) -> None:
    with pytest.raises(InputError, match="a sample rate is given in Hz, a whole number above 0"):
        score(clean[0], clean[0], rate, ["snr"])


def test_one_metric_is_named_by_itself(clean: np.ndarray) -> None:
    estimate = noisy(clean)[0]
    assert score(clean[0], estimate, RATE, "snr") == score(clean[0], estimate, RATE, ["snr"])


@pytest.mark.parametrize("error", [ZeroDivisionError("a"), ValueError("a"), RuntimeError("a")])
def test_a_librarys_failure_costs_one_number(
    clean: np.ndarray, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(self: SiSdr, pair: Pair) -> float:
        raise error

    monkeypatch.setattr(SiSdr, "measure", fail)
    values = score(clean[0], noisy(clean)[0], RATE, FAST)
    assert values["si_sdr"].reason == f"{type(error).__name__}: a"
    assert values["stoi"].value is not None


def test_a_result_that_is_not_finite_is_null(clean: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SiSdr, "measure", lambda self, pair: float("inf"))
    assert score(clean[0], clean[0], RATE, ["si_sdr"])["si_sdr"].reason == "the result is not finite"


def test_a_score_is_the_mean_of_the_channels() -> None:
    stereo = speech_like(1.0, RATE, channels=2)
    estimate = noisy(stereo)
    each = [score(stereo[n], estimate[n], RATE, ["si_sdr"])["si_sdr"].value for n in (0, 1)]
    found = score_channels(stereo, estimate, RATE, ["si_sdr"])
    assert found.values["si_sdr"].value == pytest.approx(np.mean(each))  # type: ignore[arg-type]
    assert not found.notes
    assert score_channels(0 * stereo, estimate, RATE, FAST).values["stoi"].reason == "the reference is silent"


def test_channels_without_anything_to_measure_are_left_out_and_noted() -> None:
    reference, estimate = np.zeros((3, 16000)), noisy(speech_like(1.0, RATE, channels=3))
    reference[1] = speech_like(1.0, RATE)[0]
    own = score(reference[1], estimate[1], RATE, FAST)
    found = score_channels(reference, estimate, RATE, FAST)
    assert {name: value.value for name, value in found.values.items()} == {n: own[n].value for n in FAST}
    assert found.notes == [
        "stoi, si_sdr without channel 1: the reference is silent",
        "stoi, si_sdr without channel 3: the reference is silent",
    ]
    # Too little sound for STOI is enough for SI-SDR.
    reference[2, :2000] = reference[1, :2000]
    assert "stoi without channel 3: the reference holds less than 0.4 s of sound" in (
        score_channels(reference, estimate, RATE, FAST).notes
    )


@pytest.mark.parametrize("channel", [0, 1])
def test_a_channel_that_the_estimate_lost_makes_the_score_null(channel: int) -> None:
    stereo = speech_like(1.0, RATE, channels=2)
    for lost, reason in (
        (0.0, "the estimate is silent"),
        (np.nan, "the estimate holds samples that are not"),
    ):
        estimate = stereo.copy()
        estimate[channel] = lost
        found = score_channels(stereo, estimate, RATE, ["si_sdr", "snr", "stoi", "lsd"])
        for value in found.values.values():
            assert value.value is None
            assert str(value.reason).startswith(f"channel {channel + 1}: {reason}")
    assert score_channels(stereo, 0 * stereo, RATE, ["si_sdr"]).values["si_sdr"].reason == (
        "the estimate is silent"
    )


def test_a_bug_of_our_own_stays_one(clean: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def buggy(*_: object) -> float:
        raise KeyError("words")

    monkeypatch.setattr(SiSdr, "measure", buggy)
    with pytest.raises(KeyError):
        score(clean[0], noisy(clean)[0], RATE, ["si_sdr"])


@pytest.mark.parametrize(
    ("asked", "extra"),
    [
        ("pesq,csig", "pesq"),
        ("sdr", "metrics"),
        ("f0_rmse,vuv_error", "torch"),
        ("stoi", "stoi"),
        ("dnsmos", "mos"),
        ("plcmos", "mos"),
        ("loudness", "loudness"),
        ("lsd,lsd_high,mel_l1,mrstft", "torch"),
    ],
)
def test_metrics_that_are_named_and_not_installed_are_refused(
    asked: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("extras", "metrics.pesq"):
        monkeypatch.setattr(f"audiotool.{module}.is_there", lambda module: False)
    for names in (asked, f"si_sdr,{asked}"):
        with pytest.raises(DependencyError, match=rf'pip install "audiotool-speech\[{extra}\]"') as refusal:
            chosen_metrics(names, [], has_reference=True)
        assert refusal.value.exit_code == 2
    assert chosen_metrics(None, asked.split(","), has_reference=True) == asked.split(",")
    with pytest.raises(DependencyError, match="needs pystoi"):
        check_installed(["stoi"], [])


@pytest.mark.parametrize(
    ("asked", "fine", "other"),
    [
        ("pesq,llr,wss,seg_snr,composite", (16000, 8000), 48000),
        ("pesq_nb", (8000,), 16000),
        ("f0_rmse,vuv_error,restored", (16000,), 8000),
        ("si_sdr,lsd,stoi", (8000, 16000, 48000), None),
    ],
)
def test_only_references_of_other_rates_need_a_resampler(
    asked: str, fine: tuple[int, ...], other: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of these a score had no number, and the exit code was 0."""
    there = extras.is_there
    monkeypatch.setattr(extras, "is_there", lambda module: module != "soxr" and there(module))
    (tmp_path / "damaged.wav").touch()
    files = [write_speech(tmp_path / f"{rate}.wav", 1.0, rate) for rate in fine] + [tmp_path / "damaged.wav"]
    names = chosen_metrics(asked, [], True, files)
    for path in files[:-1]:
        waveform, rate = audiotool.read(path)
        found = score(waveform[0], noisy(waveform)[0], rate, names)
        assert not [value.reason for value in found.values() if "soxr" in str(value.reason)]
    if other is not None:
        files.append(write_speech(tmp_path / "other.wav", 1.0, other))
        for name in names:
            with pytest.raises(DependencyError, match=rf"of {other} Hz needs soxr, .*\[resampling\]"):
                chosen_metrics(name, [], True, files)
        with pytest.raises(DependencyError, match=rf"^scoring {asked.replace(',', ', ')} of [^[]*\[[^[]*$"):
            chosen_metrics(asked, [], True, files)


def test_a_score_whose_package_is_missing_says_so(clean: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pystoi.stoi", None)
    monkeypatch.setattr(extras, "is_there", lambda module: module != "pystoi")
    found = score(clean[0], noisy(clean)[0], RATE, ["stoi"])["stoi"]
    assert str(found.reason).startswith("the score needs pystoi, which is not installed: ")
