"""Which files are compared: names, references and inputs in other folders, stems in the order that fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kit.audio import speech_like
from kit.scores import RATE, write

from audiotool.errors import InputError
from audiotool.metrics.pairing import FilePair, best_order, pair_files, pair_stems, stems_of
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
    with pytest.raises(InputError, match=r"no such file or folder; did you mean .*clean[?]$"):
        pair_files(tmp_path / "claen", tmp_path / "out")
    with pytest.raises(InputError, match=r"no such file or folder; did you mean .*b\.wav[?]$"):
        pair_files(file, tmp_path / "out" / "B2.wav")
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
    pairs = pair_files(tmp_path / "clean", tmp_path / "out", of_stems=True)
    assert [pair.estimate.name.split(".")[1] for pair in pairs] == ["background", "speaker2", "speaker1"]


def test_a_background_needs_no_reference(
    clean: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder, names in (("clean", ("1", "2")), ("out", ("2", "1"))):
        for name, voice in zip(names, (clean, clean[:, ::-1]), strict=True):
            write(tmp_path / folder / f"mix.speaker{name}.wav", voice)
    write(tmp_path / "out" / "mix.background.wav", clean)
    write(tmp_path / "out" / "other.background.wav", clean)
    pairs = pair_files(tmp_path / "clean", tmp_path / "out", of_stems=True)
    *speakers, alone = score_many(pairs, ["si_sdr"])
    assert [row.failed for row in speakers] == [False, False]
    assert all((row.values["si_sdr"].value or 0) > 60 for row in speakers)
    assert caplog.messages == ["backgrounds without a reference, which are not scored: mix.background"]
    # Without any reference of its mixture it is missing one as any other estimate.
    assert (alone.name, alone.failed) == ("other.background", True)


def test_speakers_are_scored_in_the_order_that_fits(clean: np.ndarray, tmp_path: Path) -> None:
    other = clean[:, ::-1]
    for folder, voices in (("clean", (clean, other)), ("out", (other, clean))):
        for n, voice in enumerate(voices):
            write(tmp_path / folder / f"mix.speaker{n + 1}.wav", voice)
            write(tmp_path / folder / f"song.stem{n + 1}.wav", voice)
    write(tmp_path / "noisy" / "mix.wav", clean + other)
    write(tmp_path / "noisy" / "song.wav", clean + other)
    pairs = pair_files(tmp_path / "clean", tmp_path / "out", tmp_path / "noisy", of_stems=True)
    rows = score_many(pairs, ["si_sdr"])
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
    rows = score_many(pair_files(tmp_path / "clean", tmp_path / "out", of_stems=True), ["si_sdr"])
    assert min(row.values["si_sdr"].value or 0 for row in rows) > 10


def voices(folder: Path, names: dict[str, int]) -> None:
    """Write voices, by their numbers, as files of these names, with a trace of the others."""
    spoken = speech_like(1.5, RATE, 3)
    for name, n in names.items():
        write(folder / name, spoken[n : n + 1] + 0.01 * spoken.sum(0))


REFERENCES = {"m.speaker1.wav": 0, "m.speaker2.wav": 1}
SURPLUS = {"m.speaker1.wav": 2, "m.speaker2.wav": 0, "m.speaker3.wav": 1}
IN_FOLDERS = {"speaker1/m.wav": 0, "speaker2/m.wav": 1, "background/m.wav": 2}


@pytest.mark.parametrize(
    ("references", "estimates", "expected"),
    [
        pytest.param(
            REFERENCES,
            SURPLUS,
            ["m.speaker1: m.speaker2.wav", "m.speaker2: m.speaker3.wav", "m.speaker3: m.speaker1.wav"],
            id="surplus estimate",
        ),
        pytest.param(
            SURPLUS,
            REFERENCES,
            ["m.speaker2: m.speaker1.wav", "m.speaker3: m.speaker2.wav"],
            id="surplus reference",
        ),
        pytest.param(REFERENCES, {"m.speaker1.wav": 1}, ["m.speaker2: m.speaker1.wav"], id="one estimate"),
        pytest.param(
            IN_FOLDERS,
            {"speaker1/m.wav": 1, "speaker2/m.wav": 0, "background/m.wav": 2},
            ["m.background", "m.speaker1: speaker2/m.wav", "m.speaker2: speaker1/m.wav"],
            id="folders of stems",
        ),
        pytest.param(
            IN_FOLDERS,
            {"m.speaker1.wav": 1, "m.speaker2.wav": 0, "m.background.wav": 2},
            ["m.background", "m.speaker1: m.speaker2.wav", "m.speaker2: m.speaker1.wav"],
            id="names against folders",
        ),
        pytest.param(
            {"song.vocals.wav": 0, "song.drums.wav": 1},
            {"vocals/song.wav": 0, "drums/song.wav": 1},
            ["song.drums", "song.vocals"],
            id="other stems in folders",
        ),
    ],
)
def test_stems_find_the_references_they_fit(
    references: dict[str, int], estimates: dict[str, int], expected: list[str], tmp_path: Path
) -> None:
    voices(tmp_path / "clean", references)
    voices(tmp_path / "out", estimates)
    pairs = pair_files(tmp_path / "clean", tmp_path / "out", of_stems=True)
    rows = score_many(pairs, ["si_sdr", "si_sir"])
    assert [row.name for row in rows] == expected
    assert [row.failed for row in rows] == [
        pair.reference not in _files(tmp_path / "clean") for pair in pairs
    ]
    for row, pair in zip(rows, pairs, strict=True):
        assert row.failed or min(row.values[name].value or 0 for name in row.values) > 20
        assert row.facts["stem"] == pair.stem == pair.name.split(":")[0].split(".")[1]
        assert len(pair.interferers) == len(references) - (not row.failed)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.wav") if path.is_file()]


def test_an_unreadable_stem_does_not_stop_the_search(tmp_path: Path) -> None:
    voices(tmp_path / "clean", REFERENCES)
    voices(tmp_path / "out", {"m.speaker1.wav": 1})
    (tmp_path / "out" / "m.speaker2.wav").touch()
    pairs = pair_files(tmp_path / "clean", tmp_path / "out", of_stems=True)
    first, second = score_many(pairs, ["si_sdr"])
    assert "m.speaker2.wav is empty" in str(first.values["si_sdr"].reason)
    assert (second.name, first.failed, second.failed) == ("m.speaker2: m.speaker1.wav", True, False)
    assert (second.values["si_sdr"].value or 0) > 20


@pytest.mark.parametrize("estimates", ["m.speaker{}.wav", "speaker{}/m.wav", "{}.wav"])
@pytest.mark.parametrize("references", ["m.speaker{}.wav", "speaker{}/m.wav", "m/speaker{}.wav"])
def test_listed_stems_find_the_references_they_fit(estimates: str, references: str, tmp_path: Path) -> None:
    voices(tmp_path / "clean", {references.format(n): n for n in (1, 2)})
    voices(tmp_path / "out", {estimates.format(n): 3 - n for n in (1, 2)})
    voices(tmp_path, {"alone.wav": 0})
    paths = [
        (tmp_path / "clean" / references.format(n), tmp_path / "out" / estimates.format(n)) for n in (1, 2)
    ]
    listed = [FilePair(str(out), clean, out) for clean, out in paths]
    alone = FilePair("alone", tmp_path / "alone.wav", tmp_path / "alone.wav")
    first, last, second = pair_stems([listed[0], alone, listed[1]])
    assert [pair.estimate for pair in (first, second)] == [listed[1].estimate, listed[0].estimate]
    assert [pair.reference for pair in (first, second)] == [listed[0].reference, listed[1].reference]
    assert first.interferers == (listed[1].reference,)
    assert first.mixture == second.mixture
    [row] = score_many([last], ["si_sdr"])
    assert row.notes == [
        "its name says no stem, as NAME.speaker1 and speaker1/NAME do: no other order was tried"
    ]


def test_names_say_which_stem_they_are() -> None:
    found = stems_of(["a/m.speaker1", "a/speaker2/b/m", "noise/m", "talk.v2", "plain", "speaker3"])
    assert list(map(tuple, found.values())) == [
        ("a/m", "speaker1"),
        ("a/b/m", "speaker2"),
        ("", ""),
        ("talk", "v2"),
        ("", ""),
        ("", "speaker3"),
    ]
    assert stems_of(["noise/m", "speaker1/m"])["noise/m"] == ("m", "noise")
    assert stems_of(["vocals/m"], ["m.vocals"])["vocals/m"] == ("m", "vocals")


def test_two_stems_of_one_name_are_refused(tmp_path: Path) -> None:
    voices(tmp_path, {"m.speaker1.wav": 0, "speaker1/m.wav": 0})
    with pytest.raises(InputError, match="which of them counts"):
        pair_files(tmp_path, tmp_path, of_stems=True)


def test_the_input_of_a_recording_that_is_no_stem_is_of_its_own_name(tmp_path: Path) -> None:
    """talk.v2 is another recording than talk."""
    names = ("talk.v2", "talk.speaker1", "other")
    for folder in ("clean", "out"):
        voices(tmp_path / folder, {f"{name}.wav": 0 for name in names})
    voices(tmp_path / "noisy", {"talk.wav": 1, "other.wav": 1})
    clean, out, noisy = (tmp_path / name for name in ("clean", "out", "noisy"))
    other, speaker, version = pair_files(clean, out, noisy)
    assert other.noisy == noisy / "other.wav"
    assert speaker.noisy == noisy / "talk.wav"
    assert version.noisy == noisy / "talk.v2.wav"
    [row] = score_many([version], ["si_sdr"])
    assert "talk.v2.wav" in str(row.baseline["si_sdr"].reason)
    assert (row.values["si_sdr"].value or 0) > 60, "only the input has no score"
    assert pair_files(clean, out, noisy, of_stems=True)[2].noisy == noisy / "talk.wav"
