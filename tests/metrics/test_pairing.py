"""Which files are compared: names, references and inputs in other folders, stems in the order that fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kit.audio import speech_like
from kit.scores import RATE, write

from audiotool.engines.base import interchangeable
from audiotool.errors import InputError
from audiotool.metrics.pairing import best_order, in_best_order, pair_files
from audiotool.metrics.score_many import score_many


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
