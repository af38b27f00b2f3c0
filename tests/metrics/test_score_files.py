"""Rows of files: other rates and lengths, channels, inputs, what cannot be read, files in blocks."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from kit.audio import speech_like, write_speech
from kit.scores import FAST, RATE, noisy, score_pair, write

from audiotool import extras
from audiotool.cli.metric_options import Threshold, failures
from audiotool.metrics.pairing import FilePair, pair_files
from audiotool.metrics.score_many import score_many
from audiotool.metrics.values import Value
from audiotool.report.scores import mixed_bands


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


@pytest.mark.parametrize("long_s", [0.1, 120.0])
def test_a_fault_of_one_file_takes_no_score_of_the_other(
    clean: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_s: float
) -> None:
    monkeypatch.setattr("audiotool.metrics.score_files.LONG_S", long_s)
    good = write(tmp_path / "good.wav", noisy(clean))
    reference = write(tmp_path / "clean.wav", clean)
    damaged = clean.copy()
    damaged[0, 9000] = np.inf
    bad, missing = write(tmp_path / "bad.wav", damaged), tmp_path / "missing.wav"
    names = ["si_sdr", "lsd_high", "stoi", "si_sir", *(["loudness"] if extras.is_there("pyloudnorm") else [])]
    by_input = {"lsd_high", "si_sir"}  # they need the input's bandwidth, or the noise in it
    for fault in (bad, missing):
        row = score_pair(FilePair("a", reference, good, fault), names)
        assert row.failed
        assert {name for name, value in row.values.items() if value.value is None} == by_input
        assert all(value.value is None for value in row.baseline.values())
        assert row.baseline.keys() == set(names)
        row = score_pair(FilePair("a", reference, fault, good), names)
        assert row.failed
        assert all(value.value is None for value in row.values.values())
        assert all(value.value is not None for value in row.baseline.values())
        row = score_pair(FilePair("a", fault, good, good), names)
        assert row.failed
        assert [name for name, value in row.values.items() if value.value is not None] == names[4:]
        assert [name for name, value in row.baseline.items() if value.value is not None] == names[4:]
        assert all(fault.name in reason for reason in row.reasons.values())
    row = score_pair(FilePair("a", reference, bad, missing), names)
    assert "bad.wav" in row.reasons["si_sdr"]
    assert "missing.wav" in row.reasons["si_sdr_noisy"]


def test_narrow_band_scores_are_reported(tmp_path: Path) -> None:
    """Beside wide-band scores they would pass for such."""
    rows = []
    for rate, told in ((8000, True), (16000, False)):
        path = write_speech(tmp_path / f"{rate}.wav", 0.5, rate)
        row = score_pair(FilePair("a", path, path), ["pesq", "llr", "wss", "seg_snr", "csig"])
        assert any("pesq, llr, wss, csig: narrow-band at 8000 Hz" in note for note in row.notes) == told
        row.values |= {"pesq": Value(4.0), "csig": Value(4.0)}  # whether or not PESQ is installed
        rows.append(row)
    mixed = mixed_bands(rows)
    assert mixed.startswith("pesq, llr, wss, csig: the mean is over narrow-band and wide-band")
    assert mixed_bands(rows[:1] * 2) == mixed_bands(rows[1:] * 2) == ""
    rows[0].values["wss"] = Value(None, "the estimate is silent")
    assert mixed_bands(rows).startswith("pesq, llr, csig: ")


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


def test_the_other_stems_are_interference(clean: np.ndarray, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32) * 0.1
    write(tmp_path / "ref" / "m.speaker1.wav", clean)
    write(tmp_path / "est" / "m.speaker1.wav", clean + 0.1 * noise)
    write(tmp_path / "ref" / "m.speaker2.wav", noise)
    write(tmp_path / "est" / "m.speaker2.wav", noise + 0.1 * clean)
    write(tmp_path / "noisy" / "m.wav", clean + noise)
    pairs = pair_files(tmp_path / "ref", tmp_path / "est", of_stems=True)
    for pair in pairs:
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


@pytest.mark.parametrize("long_s", [0.1, 120.0])
def test_an_estimate_or_an_input_that_breaks_off_fails(
    clean: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_s: float
) -> None:
    monkeypatch.setattr("audiotool.metrics.score_files.LONG_S", long_s)
    whole, cut = write(tmp_path / "a.wav", clean), write(tmp_path / "cut.wav", clean[:, :12000])
    row = score_pair(FilePair("a", whole, cut), ["si_sdr"])
    assert row.failed
    assert row.reasons["si_sdr"] == f"{cut} breaks off after 12000 samples, where the reference has 24000"
    assert not row.notes
    row = score_pair(FilePair("a", whole, whole, cut), ["si_sdr"])
    assert row.failed
    assert row.values["si_sdr"].value == 100
    assert "breaks off" in row.reasons["si_sdr_noisy"]
    assert not score_pair(FilePair("a", cut, whole), ["si_sdr"]).failed


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.5, r"cut\.mp3 breaks off after \d+ samples, where the reference has 48000"),
        (0.95, r"cut\.mp3 or its reference breaks off after \d+ samples"),
        (0.98, "fewer samples than its header says"),
    ],
)
def test_a_long_file_that_is_cut_off_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, said: str
) -> None:
    """Without its last frames the file passes for whole, until it is read."""
    monkeypatch.setattr("audiotool.metrics.score_files.LONG_S", 0.1)
    clean = speech_like(3.0, RATE)
    reference = write(tmp_path / "clean.mp3", clean)
    whole = write(tmp_path / "out.mp3", noisy(clean)).read_bytes()
    cut = tmp_path / "cut.mp3"
    cut.write_bytes(whole[: int(share * len(whole))])
    row = score_pair(FilePair("a", reference, cut), ["si_sdr"])
    assert (row.values["si_sdr"].value is not None) == (share > 0.95)
    assert any(re.search(said, line) for line in row.remarks)
    assert not score_pair(FilePair("a", reference, tmp_path / "out.mp3"), ["si_sdr"]).notes


@pytest.fixture
def alike(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Folders of references, estimates and inputs: a is whole, b of another rate, c without an estimate."""
    folders = (tmp_path / "clean", tmp_path / "out", tmp_path / "noisy")
    for number, folder in enumerate(folders):
        write_speech(folder / "a.wav", 1.0 - 0.05 * number, 16000)
        write_speech(folder / "b.wav", 1.0, 16000 if number == 0 else 8000)
    write_speech(folders[0] / "deep" / "c.wav", 1.0, 16000)
    return folders


def test_notes_tell_files_of_one_name_apart(
    alike: tuple[Path, Path, Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(alike[2])
    first, second = score_many(pair_files(alike[0], Path("../out"), Path()), ["si_sdr"])
    assert first.notes == [
        "../out/a.wav has 15200 samples, its reference 16000: the first 15200 count",
        "a.wav has 14400 samples, its reference 16000: the first 14400 count",
    ]
    assert second.notes == [
        "../out/b.wav resampled from 8000 to 16000 Hz",
        "b.wav resampled from 8000 to 16000 Hz",
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
        ' installed: pip install "audiotool-speech[resampling]"'
    )
