"""A set on disk is the same for the same seed, whatever the number of processes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from kit.tones import RATE, dataset, plain

from audiotool.data.dataset import render
from audiotool.data.mixed_set import write_set
from audiotool.errors import InputError, RecipeError

MEL = {"sample_rate": RATE, "n_fft": 512, "hop_length": 128, "n_mels": 40}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_processes_do_not_matter(corpus: Path, tmp_path: Path) -> None:
    mixed = dataset(corpus)
    done: list[int] = []
    rows = write_set(mixed, tmp_path / "one", range(6), workers=1, progress=done.append)
    write_set(dataset(corpus), tmp_path / "two", range(6), workers=2)
    assert done == [1, 2, 3, 4, 5, 6]
    files = contents(tmp_path / "one")
    assert files == contents(tmp_path / "two")
    assert sorted(files) == sorted(
        ["index.csv", *(f"{s}/{n:05d}.wav" for n in range(6) for s in ("clean", "noisy"))]
    )
    listed = list(csv.DictReader((tmp_path / "one" / "index.csv").open()))
    assert [r["noisy"] for r in listed] == [r["noisy"] for r in rows]
    for row, (example, facts) in zip(listed, render(mixed, range(6)), strict=True):
        noisy, rate = soundfile.read(tmp_path / "one" / row["noisy"])
        assert rate == RATE
        assert np.abs(noisy - example["input"][0].numpy()).max() <= 1 / 32768
        assert float(row["snr_db"]) == facts["snr_db"]
        assert (tmp_path / "one" / row["speech_files"].split("|")[0]).is_file()
        assert row["seed"] == "0"


def test_the_index_is_a_manifest_of_pairs(corpus: Path, tmp_path: Path) -> None:
    mixed = dataset(corpus)
    write_set(mixed, tmp_path / "set", range(3))
    index = tmp_path / "set" / "index.csv"
    again = dataset(index, speech=[], noise=[], pairs=[index])
    pairs = again.example.material.pairs
    assert pairs is not None
    assert len(pairs.usable) == 3
    assert [entry.group for entry in pairs.entries] == [mixed.with_facts(i)[1]["speech"] for i in range(3)]
    for key in ("input", "target"):
        assert (again[0][key] - mixed[0][key]).abs().max() <= 1 / 32768
    # The split is that of the recordings, and noisy files are no speech.
    with pytest.raises(RecipeError, match=r"'train' split is empty \(rows have: valid\)"):
        dataset(index, split="train", speech=[], noise=[], pairs=[index])
    with pytest.raises(RecipeError, match=r"no row is of kind speech \(rows have: pair\)"):
        dataset(index)


def test_an_evaluation_takes_each_pair_once(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_set(dataset(corpus), tmp_path / "set", range(3))
    index = tmp_path / "set" / "index.csv"
    pairs: dict[str, Any] = {"speech": [], "noise": [], "pairs": [index]}
    others: list[dict[str, Any]] = [{}, {"segment_seconds": 2.0}, {"segment_seconds": None}]
    for audio in others:
        again = dataset(index, audio=audio, **pairs)
        assert {again.with_facts(i)[1]["noise_files"][0] for i in range(len(again))} == {
            str(tmp_path / "set" / "noisy" / f"{n:05d}.wav") for n in range(3)
        }
        assert len(again) == 3
    why = "because some are no longer than an example"
    said = f"data.pairs: each pair of 'valid' counts once, {why}: the set has 3 in place of 20"
    assert caplog.messages == [said] * 3
    # Another part of a longer pair is another example, and training draws.
    parts = dataset(index, audio={"segment_seconds": 0.5}, **pairs)
    assert len(parts) == 20
    assert not torch.equal(parts[0]["input"], parts[3]["input"])
    assert len(dataset(index, split="train", splits={"train": ["valid"]}, **pairs)) == 20


def test_stems_and_features_have_files_of_their_own(corpus: Path, tmp_path: Path) -> None:
    mixture, names = dataset(corpus, "mixture", evaluation=plain()), ("speaker1", "speaker2")
    write_set(mixture, tmp_path / "mixture", range(1), stems=names)
    stems = [soundfile.read(tmp_path / "mixture" / "clean" / f"00000.{name}.wav")[0] for name in names]
    noisy = soundfile.read(tmp_path / "mixture" / "noisy" / "00000.wav")[0]
    assert np.abs(stems[0] + stems[1] - noisy).max() < 3 / 32768
    write_set(dataset(corpus, "features", audio={"mel": MEL}), tmp_path / "features", range(1))
    assert np.load(tmp_path / "features" / "noisy" / "00000.npy").shape == (40, 187)
    write_set(dataset(corpus, "enrolment"), tmp_path / "enrolment", range(1))
    assert soundfile.info(str(tmp_path / "enrolment" / "enrolment" / "00000.wav")).frames == 5 * RATE
    [row] = csv.DictReader((tmp_path / "enrolment" / "index.csv").open())
    assert (row["enrolment"], row["enrolled_speaks"]) == ("enrolment/00000.wav", "True")
    for name in row["enrolment_files"].split("|"):
        assert (tmp_path / "enrolment" / name).resolve().parent.name == row["enrolled"]
    narrow = dataset(corpus, "narrow-band", narrow_band={"bandwidth_hz": [2000, 6000]})
    [row] = write_set(narrow, tmp_path / "narrow", range(1))
    assert 0 < row["bandwidth_hz"] <= 6000 < row["target_bandwidth_hz"]
    assert {p.name for p in (tmp_path / "narrow").iterdir()} == {"noisy", "clean", "index.csv"}
    write_set(dataset(corpus, "array", audio={"channels": 3}), tmp_path / "array", range(1))
    assert soundfile.info(str(tmp_path / "array" / "noisy" / "00000.wav")).channels == 3


@pytest.mark.parametrize("example", ["noisy", "features", "narrow-band"])
def test_silent_recordings_have_no_level(corpus: Path, tmp_path: Path, example: str) -> None:
    for path in (corpus.parent / "valid").rglob("*.wav"):
        soundfile.write(path, np.zeros(3 * RATE), RATE, subtype="FLOAT")
    audio = {"mel": MEL} if example == "features" else {}
    narrow = {"source_rate": RATE // 2}
    write_set(dataset(corpus, example, audio=audio, narrow_band=narrow), tmp_path / "set", range(1))
    [row] = csv.DictReader((tmp_path / "set" / "index.csv").open())
    assert (row["level_dbfs"], row["snr_db"]) == ("", "")


def test_what_exceeds_full_scale_is_kept(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mixing = plain(level_dbfs=(-3, -3))
    mixed = dataset(corpus, split="train", mixing=mixing, augmentation={"codec_probability": 1})
    rows = write_set(mixed, tmp_path, range(12))
    subtypes = []
    for row in rows:
        made, expected = soundfile.read(tmp_path / row["noisy"])[0], mixed[row["index"]]["input"][0].numpy()
        assert np.abs(made - expected).max() <= 1 / 32768
        subtypes.append(soundfile.info(str(tmp_path / row["noisy"])).subtype)
        assert (subtypes[-1] == "FLOAT") == (np.abs(expected).max() > 1)
        assert soundfile.info(str(tmp_path / row["clean"])).subtype == "PCM_16"
    assert set(subtypes) == {"FLOAT", "PCM_16"}
    assert "limited" not in caplog.text


@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder_that_cannot_be_written(corpus: Path, tmp_path: Path, workers: int) -> None:
    (tmp_path / "file").write_text("")
    for mixed in (dataset(corpus), dataset(corpus, "features", audio={"mel": MEL})):
        with pytest.raises(InputError, match=r"^cannot make"):
            write_set(mixed, tmp_path / "file", range(2), workers)


def test_examples_end(corpus: Path) -> None:
    mixed = dataset(corpus)
    with pytest.raises(IndexError):
        mixed[20]
    assert len(list(iter(mixed))) == len(mixed) == 20
