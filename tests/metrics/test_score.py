"""Scoring pairs, files and folders: every row is there, with numbers or reasons."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like, write_speech
from kit.plugin import install_plugin

from audiotool import extras
from audiotool.cli.metric_options import Threshold, check_installed, chosen_metrics, failures
from audiotool.engines.base import interchangeable
from audiotool.errors import InputError, PlanError
from audiotool.metrics.base import Pair
from audiotool.metrics.pairing import FilePair, best_order, in_best_order, pair_files
from audiotool.metrics.rows import Row
from audiotool.metrics.score import score, score_channels
from audiotool.metrics.score_files import score_stems
from audiotool.metrics.score_many import score_many
from audiotool.metrics.sdr import SiSdr

RATE = 16000
FAST = ["stoi", "si_sdr"]


def write(path: Path, waveform: np.ndarray, sample_rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform.T, sample_rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def score_pair(files: FilePair, metrics: list[str]) -> Row:
    return score_stems([files], metrics)[0]


def noisy(clean: np.ndarray, amount: float = 0.05) -> np.ndarray:
    return clean + amount * np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return speech_like(1.5, RATE)


def test_scores_by_name(clean: np.ndarray) -> None:
    values = score(clean[0], noisy(clean)[0], RATE, FAST)
    assert list(values) == FAST
    assert 0.5 < (values["stoi"].value or 0) < 1
    assert values["si_sdr"].reason is None


def test_lengths_that_differ_count_to_the_shorter(clean: np.ndarray) -> None:
    estimate = noisy(clean)[0]
    expected = score(clean[0, :20000], estimate[:20000], RATE, FAST)
    assert score(clean[0], estimate[:20000], RATE, FAST) == expected
    assert score(clean[0, :20000], estimate, RATE, FAST) == expected


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


@pytest.mark.parametrize("long_s", [0.1, 120.0])
def test_rows_name_lost_and_silent_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_s: float
) -> None:
    monkeypatch.setattr("audiotool.metrics.score_files.LONG_S", long_s)
    stereo = speech_like(1.0, RATE, channels=2)
    mono = stereo * np.array([[1], [0]])
    both, left = write(tmp_path / "both.wav", stereo), write(tmp_path / "left.wav", mono)
    row = score_pair(FilePair("a", both, left, both), ["si_sdr"])
    assert row.reasons["si_sdr"] == "channel 2: the estimate is silent"
    assert not row.notes
    row = score_pair(FilePair("a", left, both, both), ["si_sdr"])
    assert row.values["si_sdr"].value == 100
    assert row.notes == ["si_sdr without channel 2: the reference is silent"]
    assert failures([row], [Threshold("si_sdr", 90)]) == []
    lost = score_pair(FilePair("a", both, left), ["si_sdr"])
    assert failures([lost], [Threshold("si_sdr", -200)])[0]["value"] is None


def test_a_row_notes_other_rates_and_lengths(clean: np.ndarray, tmp_path: Path) -> None:
    reference = write(tmp_path / "clean.wav", clean)
    estimate = write(tmp_path / "enhanced.wav", speech_like(1.4, 24000), 24000)
    row = score_pair(FilePair("a", reference, estimate), FAST)
    assert (row.values["stoi"].value or 0) > 0.8
    assert row.notes == [
        "enhanced.wav resampled from 24000 to 16000 Hz",
        "enhanced.wav has 22400 samples, its reference 24000: the first 22400 count",
    ]


def test_a_baseline_gives_the_improvement(clean: np.ndarray, tmp_path: Path) -> None:
    reference, better, worse = (
        write(tmp_path / f"{name}.wav", noisy(clean, amount))
        for name, amount in (("clean", 0), ("better", 0.01), ("noisy", 0.1))
    )
    row = score_pair(FilePair("a", reference, better, worse), ["si_sdr"])
    columns = {name: value.value for name, value in row.columns().items()}
    assert columns["si_sdr_improvement"] == pytest.approx(columns["si_sdr"] - columns["si_sdr_noisy"])  # type: ignore[operator]
    assert columns["si_sdr_improvement"] == pytest.approx(20, abs=1)


def test_files_that_cannot_be_compared_give_reasons(clean: np.ndarray, tmp_path: Path) -> None:
    good = write(tmp_path / "good.wav", clean)
    stereo = write(tmp_path / "stereo.wav", np.vstack((clean, clean)))
    text = tmp_path / "text.wav"
    text.write_text("no audio at all")
    row = score_pair(FilePair("a", good, stereo), FAST)
    assert "has 2 channels, its reference 1" in str(row.values["stoi"].reason)
    row = score_pair(FilePair("a", good, text), FAST)
    assert "cannot be read as audio" in str(row.values["si_sdr"].reason)
    row = score_pair(FilePair("a", good, good, text), FAST)
    assert row.values["stoi"].value == pytest.approx(1)
    assert row.columns()["stoi_improvement"].value is None


def test_stems_that_cannot_be_ordered_keep_their_order(clean: np.ndarray, tmp_path: Path) -> None:
    good = write(tmp_path / "good.wav", clean)
    text = tmp_path / "text.wav"
    text.write_text("no audio")
    assert best_order([good, good], [text, good]) == (0, 1)
    broken = clean.copy()
    broken[0, 5] = np.nan
    assert best_order([good, good], [good, write(tmp_path / "nan.wav", broken)]) == (0, 1)


def test_folders_pair_by_relative_path_whatever_the_suffix(clean: np.ndarray, tmp_path: Path) -> None:
    for name in ("a.wav", "deep/b.flac", "unused.wav"):
        write(tmp_path / "clean" / name, clean)
    for name in ("a.flac", "deep/b.wav"):
        write(tmp_path / "out" / name, clean)
    (tmp_path / "out" / "report.json").write_text("{}")
    pairs = pair_files(tmp_path / "clean", tmp_path / "out")
    assert [p.name for p in pairs] == ["a", "deep/b"]
    assert pairs[1].reference == tmp_path / "clean" / "deep" / "b.flac"
    assert pairs[1].noisy is None


def test_names_with_dots_stay_apart(clean: np.ndarray, tmp_path: Path) -> None:
    for name in ("a.speaker1.wav", "a.speaker2.wav"):
        write(tmp_path / "clean" / name, clean)
        write(tmp_path / "out" / name, clean)
    assert [p.name for p in pair_files(tmp_path / "clean", tmp_path / "out")] == ["a.speaker1", "a.speaker2"]


def test_paths_that_do_not_pair(clean: np.ndarray, tmp_path: Path) -> None:
    file = write(tmp_path / "clean" / "a.wav", clean)
    write(tmp_path / "out" / "b.wav", clean)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no such file or folder"):
        pair_files(tmp_path / "missing", tmp_path / "out")
    with pytest.raises(InputError, match="files, or folders, not one of each"):
        pair_files(file, tmp_path / "out")
    with pytest.raises(InputError, match=r"none of 1 estimates has a reference in .*: b"):
        pair_files(tmp_path / "clean", tmp_path / "out")
    with pytest.raises(InputError, match="no audio files"):
        pair_files(tmp_path / "clean", tmp_path / "empty")
    with pytest.raises(InputError, match="has a noisy input in"):
        pair_files(tmp_path / "clean", tmp_path / "clean", tmp_path / "empty")
    write(tmp_path / "clean" / "a.flac", clean)
    with pytest.raises(InputError, match="one name"):
        pair_files(tmp_path / "clean", tmp_path / "clean")


def test_an_estimate_without_a_partner_is_a_row_of_reasons(clean: np.ndarray, tmp_path: Path) -> None:
    write(tmp_path / "clean" / "a.wav", clean)
    for name in ("a.wav", "b.wav"):
        write(tmp_path / "out" / name, clean)
    good, alone = score_many(pair_files(tmp_path / "clean", tmp_path / "out"), ["si_sdr"])
    assert (good.failed, alone.failed) == (False, True)
    assert "clean/b.wav" in (alone.values["si_sdr"].reason or "")


def test_the_background_keeps_its_place(clean: np.ndarray, tmp_path: Path) -> None:
    """A background that resembles a speaker more than its own reference is not exchanged with it."""
    other, noise = clean[:, ::-1], np.roll(clean, 1000, axis=1)
    references = {"background": noise, "speaker1": clean, "speaker2": other}
    estimates = {"background": clean + other, "speaker1": other, "speaker2": noise + 0.01 * clean}
    for folder, signals in (("clean", references), ("out", estimates)):
        for name, waveform in signals.items():
            write(tmp_path / folder / f"mix.{name}.wav", waveform)
    pairs = in_best_order(pair_files(tmp_path / "clean", tmp_path / "out"), interchangeable)
    assert [pair.estimate.name.split(".")[1] for pair in pairs] == ["background", "speaker2", "speaker1"]


def test_speakers_are_scored_in_the_order_that_fits(clean: np.ndarray, tmp_path: Path) -> None:
    other = clean[:, ::-1]
    for folder, voices in (("clean", (clean, other)), ("out", (other, clean))):
        for n, voice in enumerate(voices):
            write(tmp_path / folder / f"mix.speaker{n + 1}.wav", voice)
            write(tmp_path / folder / f"song.stem{n + 1}.wav", voice)
    write(tmp_path / "noisy" / "mix.wav", clean + other)
    write(tmp_path / "noisy" / "song.wav", clean + other)
    pairs = pair_files(tmp_path / "clean", tmp_path / "out", tmp_path / "noisy")
    rows = score_many(in_best_order(pairs, interchangeable), ["si_sdr"])
    assert [row.name for row in rows] == [
        "mix.speaker1: mix.speaker2.wav",
        "mix.speaker2: mix.speaker1.wav",
        "song.stem1",
        "song.stem2",
    ]
    ratios = [row.values["si_sdr"].value or 0 for row in rows]
    assert min(ratios[:2]) > 60 > 10 > max(ratios[2:])
    assert all(abs(row.baseline["si_sdr"].value or 99) < 10 for row in rows)


@pytest.mark.parametrize("rate", [8000, 24000, 44100])
def test_stems_of_another_rate_find_their_references(tmp_path: Path, rate: int) -> None:
    """As many samples at two rates are other times; the order is that of the same times."""
    names = ("speaker1", "speaker2")
    for seed, name in enumerate(names):
        other = names[1 - seed]
        write(tmp_path / "clean" / f"mix.{name}.wav", speech_like(1.5, RATE, 2, seed)[seed : seed + 1])
        write(tmp_path / "out" / f"mix.{other}.wav", speech_like(1.5, rate, 2, seed)[seed : seed + 1], rate)
    pairs = pair_files(tmp_path / "clean", tmp_path / "out")
    references, estimates = ([getattr(p, side) for p in pairs] for side in ("reference", "estimate"))
    assert best_order(references, estimates) == (1, 0)
    assert best_order(estimates, references) == (1, 0)
    rows = score_many(in_best_order(pairs, interchangeable), ["si_sdr"])
    assert min(row.values["si_sdr"].value or 0 for row in rows) > 10


def test_processes_give_the_same_rows_in_order(clean: np.ndarray, tmp_path: Path) -> None:
    for n in range(3):
        write(tmp_path / "clean" / f"{n}.wav", clean)
        write(tmp_path / "out" / f"{n}.wav", noisy(clean, 0.02 * (n + 1)))
    pairs = pair_files(tmp_path / "clean", tmp_path / "out")
    finished: list[str] = []
    rows = score_many(pairs, FAST, jobs=2, progress=lambda row: finished.append(row.name))
    assert [r.name for r in rows] == ["0", "1", "2"]
    assert sorted(finished) == ["0", "1", "2"]
    alone = score_many(pairs, FAST)
    for row, other in zip(rows, alone, strict=True):
        for name in FAST:
            assert row.values[name].value == pytest.approx(other.values[name].value)


class Killer(type(Path())):  # type: ignore[misc]
    """A path that kills the worker process that reads it."""

    def __str__(self) -> str:
        if multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return str(super().__str__())

    __fspath__ = __str__

    def exists(self, *args: object, **kwargs: object) -> bool:
        str(self)
        return True


def test_a_worker_that_dies_takes_no_other_row_with_it(clean: np.ndarray, tmp_path: Path) -> None:
    good = write(tmp_path / "good.wav", clean)
    pairs = [FilePair(str(n), good, good) for n in range(3)]
    pairs[1] = FilePair("1", good, Killer(good))
    rows = score_many(pairs, ["si_sdr"], jobs=2)
    assert [r.values["si_sdr"].value is not None for r in rows] == [True, False, True]
    assert rows[1].values["si_sdr"].reason == "the process that scored this file died"
    assert [r.facts["status"] for r in rows] == ["done", "failed", "done"]
    assert rows[1].facts["estimate"] == str(good)


def test_narrow_band_pesq_is_reported(tmp_path: Path) -> None:
    """Beside wide-band scores it would pass for one."""
    for rate, told in ((8000, True), (16000, False)):
        path = write_speech(tmp_path / f"{rate}.wav", 0.5, rate)
        row = score_pair(FilePair("a", path, path), ["pesq"])
        assert any("narrow-band at 8000 Hz" in note for note in row.notes) == told


def test_without_a_reference_non_intrusive_metrics_are_scored(clean: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("pyloudnorm")
    for folder, amount in (("out", 0.01), ("noisy", 0.1)):
        write(tmp_path / folder / "a.wav", noisy(clean, amount))
    [pair] = pair_files(None, tmp_path / "out", tmp_path / "noisy")
    assert pair.reference is None
    row = score_pair(pair, ["si_sdr", "loudness"])
    assert row.reasons["si_sdr"] == "there is no reference"
    assert row.values["loudness"].value is not None
    assert row.baseline["loudness"].value is not None
    assert list(row.values) == ["si_sdr", "loudness"], "in the order of asking"


def test_a_plug_in_is_scored_in_workers_too(
    clean: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "from audiotool.metrics.base import NonIntrusiveMetric\n"
        "class Samples(NonIntrusiveMetric):\n"
        "    name = 'samples'\n"
        "    def rate(self, recording):\n"
        "        return float(sum(block.shape[1] for block in recording.read()))\n"
    )
    install_plugin(
        tmp_path, "counting", {"counting": text}, {"audiotool.metrics": {"samples": "counting:Samples"}}
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    for name in "ab":
        write(tmp_path / "out" / f"{name}.wav", clean)
    rows = score_many(pair_files(None, tmp_path / "out"), ["samples"], jobs=2)
    assert [row.values["samples"].value for row in rows] == [clean.shape[1]] * 2


BUGS = {
    "return {}['words']": "KeyError: 'words'",
    "assert False, 'no\\nwords'": "AssertionError: no words",
    "return None.words": "AttributeError: 'NoneType' object has no attribute 'words'",
    "import recogniser_that_is_not_there": "ModuleNotFoundError: No module named",
    "raise ValueError('no words')": "ValueError: no words",
    "pass": "TypeError: float() argument must be",
}
"""Bodies of methods -> the reasons."""


@pytest.mark.parametrize(("bug", "reason"), BUGS.items())
def test_a_bug_of_a_plug_in_is_a_reason(
    clean: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: str, reason: str
) -> None:
    sys.modules.pop("buggy_scores", None)
    kinds = {"Metric": "measure", "NonIntrusiveMetric": "rate", "JointMetric": "rate"}
    text = "from audiotool.metrics.base import *\n"
    for kind, method in kinds.items():
        text += (
            f"class Bad{kind}({kind}):\n    name = 'bad_{kind}'\n    def {method}(self, _):\n        {bug}\n"
        )
    names = [f"bad_{kind}" for kind in kinds]
    points = {name: f"buggy_scores:Bad{kind}" for name, kind in zip(names, kinds, strict=True)}
    install_plugin(tmp_path, "buggy-scores", {"buggy_scores": text}, {"audiotool.metrics": points})
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in "12":
        write(tmp_path / "ref" / f"m.speaker{name}.wav", clean)
    pairs = pair_files(tmp_path / "ref", tmp_path / "ref")
    for row in score_stems(pairs, ["si_sdr", *names]):
        assert row.values["si_sdr"].value is not None
        assert not row.failed
        for name in names[: 2 if bug == "pass" else 3]:
            assert f"metric '{name}' of package buggy-scores 1.0 failed: {reason}" in row.reasons[name]
        assert row.values[names[2]].value is None
    sys.modules.pop("buggy_scores", None)


def test_a_bug_of_our_own_stays_one(clean: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def buggy(*_: object) -> float:
        raise KeyError("words")

    monkeypatch.setattr(SiSdr, "measure", buggy)
    with pytest.raises(KeyError):
        score(clean[0], noisy(clean)[0], RATE, ["si_sdr"])


def test_the_other_stems_are_interference(clean: np.ndarray, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32) * 0.1
    write(tmp_path / "ref" / "m.speaker1.wav", clean)
    write(tmp_path / "est" / "m.speaker1.wav", clean + 0.1 * noise)
    write(tmp_path / "ref" / "m.speaker2.wav", noise)
    write(tmp_path / "est" / "m.speaker2.wav", noise + 0.1 * clean)
    write(tmp_path / "noisy" / "m.wav", clean + noise)
    pairs = pair_files(tmp_path / "ref", tmp_path / "est")
    for pair in in_best_order(pairs, lambda stems: range(len(stems))):
        assert len(pair.interferers) == 1
        row = score_pair(pair, ["si_sir", "si_sar"])
        assert row.values["si_sir"].value == pytest.approx(20, abs=8)
        assert row.values["si_sar"].value == pytest.approx(100, abs=40)
    alone = score_pair(replace(pairs[0], interferers=()), ["si_sir"])
    assert alone.values["si_sir"].value is None
    noisy_input = replace(pairs[0], interferers=(), noisy=tmp_path / "noisy" / "m.wav")
    assert score_pair(noisy_input, ["si_sir"]).values["si_sir"].value == pytest.approx(20, abs=8)


@pytest.mark.parametrize("rate", [16000, 22050])
def test_long_files_are_compared_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int
) -> None:
    """Every metric has the number that it has of the whole files."""
    clean = speech_like(3.1, rate, 2)
    reference = write(tmp_path / "clean.wav", clean)
    estimate = write(tmp_path / "out.wav", noisy(clean)[:, :-200])
    noisy_input = write(tmp_path / "in.wav", noisy(clean, 0.2))
    files = FilePair("a", reference, estimate, noisy_input)
    names = [*("stoi", "estoi", "si_sdr", "snr", "seg_snr", "llr", "wss", "lsd", "lsd_high", "mel_l1")]
    names += ["mrstft", "sdr", *(["pesq", "csig", "cbak", "covl"] if find_spec("pesq") else [])]
    whole = score_pair(files, names)
    monkeypatch.setattr("audiotool.metrics.score_files.LONG_S", 1.0)
    monkeypatch.setattr("audiotool.metrics.score_files.BLOCK", 10_007)
    monkeypatch.setattr("audiotool.metrics.base.BLOCK", 10_007)
    monkeypatch.setattr(
        "audiotool.metrics.score_files.score_channels", lambda *arguments: pytest.fail("read as a whole")
    )
    blocks = score_pair(files, names)
    assert blocks.notes == whole.notes
    for side, expected in ((blocks.values, whole.values), (blocks.baseline, whole.baseline)):
        for name in names:
            assert side[name].value == pytest.approx(expected[name].value, abs=1e-6), name


def test_intrusive_metrics_compare_whole_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiotool.metrics.score_files.LONG_S", 0.1)
    clean = speech_like(1.5, RATE)
    reference = write(tmp_path / "clean.wav", clean)
    slower = write(tmp_path / "slow.wav", noisy(clean)[:, ::2], RATE // 2)
    row = score_pair(FilePair("a", reference, slower), ["si_sdr"])
    assert "slow.wav resampled from 8000 to 16000 Hz" in row.notes
    same = write(tmp_path / "out.wav", noisy(clean))
    row = score_pair(
        FilePair("a", reference, same, write(tmp_path / "in.wav", noisy(clean, 0.2))), ["si_sir"]
    )
    assert row.values["si_sir"].value is not None
    stereo = write(tmp_path / "stereo.wav", np.concatenate((clean, clean)))
    assert "2 channels" in score_pair(FilePair("a", reference, stereo), ["snr"]).reasons["snr"]
    silent = write(tmp_path / "silent.wav", 0 * clean)
    assert score_pair(FilePair("a", silent, same), ["snr"]).reasons["snr"] == "the reference is silent"
    row = score_pair(FilePair("a", reference, same, tmp_path / "missing.wav"), ["snr"])
    assert row.values["snr"].value is not None


def test_a_long_file_that_is_cut_off_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiotool.metrics.score_files.LONG_S", 0.1)
    clean = speech_like(3.0, RATE)
    reference = write(tmp_path / "clean.mp3", clean)
    whole = write(tmp_path / "out.mp3", noisy(clean)).read_bytes()
    cut = tmp_path / "cut.mp3"
    cut.write_bytes(whole[: len(whole) // 2])
    row = score_pair(FilePair("a", reference, cut), ["si_sdr"])
    assert row.values["si_sdr"].value is not None
    [note] = row.notes
    assert "fewer samples than its header says" in note
    assert not score_pair(FilePair("a", reference, tmp_path / "out.mp3"), ["si_sdr"]).notes


@pytest.fixture
def alike(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Folders of references, estimates and inputs: a is whole, b of another rate, c without an estimate."""
    folders = (tmp_path / "clean", tmp_path / "out", tmp_path / "noisy")
    for number, folder in enumerate(folders):
        write_speech(folder / "a.wav", 1.0 - 0.1 * number, 16000)
        write_speech(folder / "b.wav", 1.0, 16000 if number == 0 else 8000)
    write_speech(folders[0] / "deep" / "c.wav", 1.0, 16000)
    return folders


def test_notes_tell_files_of_one_name_apart(
    alike: tuple[Path, Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = score_many(pair_files(*alike), ["si_sdr"])
    assert first.notes == [
        "out/a.wav has 14400 samples, its reference 16000: the first 14400 count",
        "noisy/a.wav has 12800 samples, its reference 16000: the first 12800 count",
    ]
    assert second.notes == [
        "out/b.wav resampled from 8000 to 16000 Hz",
        "noisy/b.wav resampled from 8000 to 16000 Hz",
    ]
    assert "references without an estimate, which are not scored: deep/c.wav" in caplog.text


def test_a_missing_resampler_costs_the_files_that_need_it(
    alike: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = extras.is_there
    monkeypatch.setattr("audiotool.extras.is_there", lambda module: module != "soxr" and real(module))
    first, second = score_many(pair_files(*alike), ["si_sdr"])
    assert not first.failed
    assert first.values["si_sdr"].value is not None
    assert second.failed
    assert str(second.values["si_sdr"].reason) == (
        f"{alike[1]}/b.wav has 8000 Hz, its reference 16000 Hz: resampling needs soxr, which is not"
        " installed: pip install 'audiotool-speech[resampling]'"
    )


@pytest.mark.parametrize(
    ("asked", "extra"),
    [("pesq,csig", "pesq"), ("stoi", "stoi"), ("dnsmos", "mos"), ("plcmos", "mos"), ("loudness", "loudness")],
)
def test_metrics_of_which_none_is_installed_are_refused(
    asked: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("extras", "metrics.pesq", "metrics.dnsmos"):
        monkeypatch.setattr(f"audiotool.{module}.is_there", lambda module: False)
    with pytest.raises(PlanError, match=rf"pip install 'audiotool-speech\[{extra}\]'"):
        chosen_metrics(asked, [], has_reference=True)
    assert chosen_metrics(f"si_sdr,{asked}", [], has_reference=True)[0] == "si_sdr"
    with pytest.raises(PlanError, match="needs pystoi"):
        check_installed(["stoi"])
