"""Pairs of two folders: which files belong together, what is left out, and what is said of it."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.tones import RATE, dataset, tone

from audiotool.data.clips import FileClips
from audiotool.data.manifest import read_manifest, write_manifest
from audiotool.data.pairs import scan_pairs
from audiotool.data.scan import by_pattern
from audiotool.errors import InputError, RecipeError


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of noisy and clean recordings: three pairs, and one file without a partner in each."""
    for name in ("noisy/anna/a.wav", "noisy/b.wav", "noisy/été.wav", "noisy/alone.wav"):
        record(tmp_path / name)
    decomposed = unicodedata.normalize("NFD", "été")
    for name in ("clean/anna/a.flac", "clean/b.wav", f"clean/{decomposed}.wav", "clean/unused.wav"):
        record(tmp_path / name)
    return tmp_path / "noisy", tmp_path / "clean"


def record(path: Path, seconds: float = 1.0, sample_rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(200, seconds, sample_rate), sample_rate)


def test_files_of_one_name_are_a_pair(folders: tuple[Path, Path]) -> None:
    found = scan_pairs(*folders, split="valid")
    assert [e.path.name for e in found.entries] == ["a.wav", "b.wav", "été.wav"]
    assert found.entries[0].targets == (folders[1] / "anna" / "a.flac",)
    assert {(e.kind, e.split, e.source) for e in found.entries} == {("pair", "valid", "noisy")}
    assert found.notes == [
        "speakers are names of folders, such as noisy of alone.wav; --speaker-pattern finds others",
        f"left out, without a target in {folders[1]}: alone.wav",
        f"left out, targets without a recording in {folders[0]}: unused.wav",
    ]
    manifest = folders[0].parent / "pairs.csv"
    write_manifest(manifest, found.entries)
    assert read_manifest(manifest) == found.entries
    pairs = dataset(manifest, speech=[], noise=[], pairs=[manifest]).example.material.pairs
    assert pairs is not None
    assert len(pairs.usable) == 3


def test_pairs_are_split_by_speaker(tmp_path: Path) -> None:
    for side in ("noisy", "clean"):
        for speaker in "abc":
            for n in range(2):
                record(tmp_path / side / f"{speaker}{n}.wav", 0.1)
    found = scan_pairs(tmp_path / "noisy", tmp_path / "clean", group=by_pattern("^(.)"))
    assert {e.split for e in found.entries} == {"train", "valid", "test"}
    assert len({(e.group, e.split) for e in found.entries}) == 3


def test_what_is_no_pair_is_left_out_with_the_reason(folders: tuple[Path, Path]) -> None:
    record(folders[1] / "b.wav", 0.5)
    record(folders[1] / "anna" / "a.flac", 1.0, 8000)
    found = scan_pairs(*folders)
    assert [e.path.name for e in found.entries] == ["été.wav"]
    rate, length = found.unreadable.values()
    assert "a.flac 8000 Hz: resample one of the folders" in rate
    assert "b.wav 0.500 s: they are not a pair" in length


@pytest.mark.parametrize("name", ["clean/mix.{stem}.wav", "clean/{stem}/mix.flac"])
def test_stems_keep_their_order(tmp_path: Path, name: str) -> None:
    record(tmp_path / "noisy" / "mix.wav")
    for stem in ("speech", "noise"):
        record(tmp_path / name.format(stem=stem))
    found = scan_pairs(tmp_path / "noisy", tmp_path / "clean", ["speech", "noise"])
    assert found.entries[0].targets == tuple(tmp_path / name.format(stem=s) for s in ("speech", "noise"))
    with pytest.raises(InputError, match=r"no recording has a target: .*STEM/NAME for each of speech, music"):
        scan_pairs(tmp_path / "noisy", tmp_path / "clean", ["speech", "music"])


def test_folders_without_pairs(folders: tuple[Path, Path]) -> None:
    noisy, clean = folders
    with pytest.raises(InputError, match="no recording has a target"):
        scan_pairs(noisy / "anna", clean)
    record(clean / "b.flac")
    with pytest.raises(InputError, match=r"b\.flac and .*b\.wav have one name"):
        scan_pairs(noisy, clean)


@pytest.mark.parametrize("decode_once", [True, False])
def test_a_pair_is_mixed_to_mono_by_one_rule(tmp_path: Path, decode_once: bool) -> None:
    """Opposite channels of two voices, in noise that hides this: mixed by its own rule the input would be
    noise."""
    rng = np.random.default_rng(0)
    voices = [np.stack((v, -v), 1) for v in (tone(200, 2.0), tone(310, 2.0))]
    mixture = sum(voices) + 0.3 * rng.standard_normal(voices[0].shape)
    for name, samples in (("mixture", mixture), ("one", voices[0]), ("two", voices[1])):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "mono.wav", tone(200, 2.0), RATE, subtype="FLOAT")
    for targets, shared in (("one.wav|two.wav", 2), ("mono.wav|two.wav", 2), ("mono.wav|mono.wav", 1)):
        manifest = tmp_path / "m.csv"
        manifest.write_text(f"path,target,kind,split\nmixture.wav,{targets},pair,valid\n")
        opened = dataset(manifest, "mixture", speech=[], noise=[], pairs=[manifest], decode_once=decode_once)
        example = opened[0]
        heard, voice = example["input"][0].numpy(), example["target"][shared - 1].numpy()
        assert np.corrcoef(heard, voice)[0, 1] > 0.3, targets


def test_slices_of_a_pair_are_mixed_as_the_file_is(tmp_path: Path) -> None:
    """The first slice that is read is silent, and does not tell that the first channel is dead."""
    late = np.concatenate((np.zeros(RATE), tone(200, 1.0))).astype(np.float32)
    path, target = tmp_path / "noisy.wav", tmp_path / "clean.wav"
    soundfile.write(path, np.stack((np.zeros_like(late), late), 1), RATE, subtype="FLOAT")
    soundfile.write(target, late, RATE, subtype="FLOAT")
    clips = FileClips([path], RATE, [(target,)])
    for start in (0, RATE):
        np.testing.assert_array_equal(clips.read(0, start, RATE), late[start : start + RATE])


def test_recipes_say_how_pairs_are_made(folders: tuple[Path, Path]) -> None:
    manifest = folders[0].parent / "m.csv"
    manifest.write_text("path,target,kind\nnoisy/b.wav,clean/b.wav,pairs\n")
    for place, reason in (
        (folders[0], "is a folder, which does not say which files are targets"),
        (manifest, r"no row is of kind pair \(rows have: pairs\)"),
    ):
        with pytest.raises(RecipeError, match=rf"{reason}.*audiotool data scan NOISY --targets CLEAN"):
            dataset(place, speech=[], noise=[], pairs=[place])
