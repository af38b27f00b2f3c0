"""Decoded once, read in slices; and what happens to files that cannot be read."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from kit.tones import RATE, dataset, tone

from audiotool.data.clips import DecodedClips, FileClips, read_audio
from audiotool.data.entry import Entry
from audiotool.data.manifest import read_manifest, write_manifest
from audiotool.errors import InputError


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """A loud, a quiet, a stereo and a 44.1 kHz file, 1 s each."""
    made = [tmp_path / f"{n}.wav" for n in range(4)]
    soundfile.write(made[0], 1.5 * tone(200, 1.0), RATE, subtype="FLOAT")
    soundfile.write(made[1], 1e-4 * tone(200, 1.0), RATE, subtype="FLOAT")
    soundfile.write(made[2], np.stack([tone(200, 1.0), tone(300, 1.0)], 1), RATE, subtype="FLOAT")
    soundfile.write(made[3], tone(200, 1.0, 44100), 44100, subtype="FLOAT")
    return made


def test_slices_are_the_files(tmp_path: Path, paths: list[Path]) -> None:
    clips = DecodedClips(paths, RATE, tmp_path / "c")
    assert list(clips.lengths) == [RATE] * 4
    for i, path in enumerate(paths):
        whole = read_audio(path, RATE)
        # 16 bits of the file's own peak, however quiet it is.
        assert np.abs(clips.read(i, 0, RATE) - whole).max() <= 0.51 * np.abs(whole).max() / 32767
        assert np.array_equal(clips.read(i, 100, 50), clips.read(i, 0, RATE)[100:150])
        assert len(clips.read(i, RATE - 10, 50)) == 10
    resampled, direct = clips.read(3, 0, RATE), tone(200, 1.0)
    assert np.abs(resampled - direct)[500:-500].max() < 2e-3


def test_files_of_another_decoding_are_decoded_again(
    tmp_path: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for version, count in ((1, 2), (2, 4), (2, 4)):
        monkeypatch.setattr("audiotool.data.clips.DECODING", version)
        DecodedClips(paths, RATE, tmp_path / "c")
        assert len(list((tmp_path / "c").iterdir())) == count


def test_files_are_decoded_once_and_again_when_they_change(
    tmp_path: Path, paths: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    seen: list[tuple[int, int | None]] = []
    DecodedClips(paths, RATE, tmp_path / "c", lambda done, total: seen.append((done, total)))
    assert seen == [(n, 4) for n in range(1, 5)]
    DecodedClips(paths, RATE, tmp_path / "c", lambda done, total: seen.append((done, total)))
    assert len(seen) == 4
    soundfile.write(paths[0], tone(500, 2.0), RATE)
    assert DecodedClips(paths, RATE, tmp_path / "c").lengths[0] == 2 * RATE
    # Decoded samples and indices that a crash cut short are made again.
    for cut in ("*.pcm", "*.npz"):
        for made in (tmp_path / "c").glob(cut):
            made.write_bytes(made.read_bytes()[:-2])
        assert DecodedClips(paths, RATE, tmp_path / "c").read(0, 0, 10).shape == (10,)
    assert not [p for p in (tmp_path / "c").iterdir() if p.suffix not in (".pcm", ".npz")]


def test_files_that_can_be_read_again_are_used(
    tmp_path: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, *arguments: Any) -> Any:
        if path == paths[1]:
            raise InputError(f"{path}: permission denied")
        return read_audio(path, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr("audiotool.data.clips.read_audio", refused)
        for _ in range(2):
            clips = DecodedClips(paths, RATE, tmp_path / "c")
            assert list(clips.lengths) == [RATE, 0, RATE, RATE]
            assert list(clips.unreadable) == [str(paths[1])]
    clips = DecodedClips(paths, RATE, tmp_path / "c")
    assert list(clips.lengths) == [RATE] * 4
    assert not clips.unreadable


def test_clips_travel_to_other_processes_by_name(tmp_path: Path, paths: list[Path]) -> None:
    clips = DecodedClips(paths, RATE, tmp_path / "c")
    packed = pickle.dumps(clips)
    assert len(packed) < 2000
    assert np.array_equal(pickle.loads(packed).read(1, 5, 100), clips.read(1, 5, 100))


def test_files_read_as_needed_give_the_same(paths: list[Path], tmp_path: Path) -> None:
    decoded, files = DecodedClips(paths, RATE, tmp_path / "c"), FileClips(paths, RATE)
    assert np.array_equal(decoded.lengths, files.lengths)
    for i in range(3):
        assert np.abs(decoded.read(i, 4000, 800) - files.read(i, 4000, 800)).max() < 1e-4
    assert len(files.read(3, 4000, 800)) == 800


@pytest.mark.parametrize("native", [8000, 22050, 44100, 44101, 48000])
def test_slices_of_files_at_other_rates_are_the_decoded_ones(tmp_path: Path, native: int) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * native + 7)
    soundfile.write(tmp_path / "a.wav", noise, native, subtype="FLOAT")
    files, decoded = FileClips([tmp_path / "a.wav"], RATE), DecodedClips([tmp_path / "a.wav"], RATE, tmp_path)
    length = int(decoded.lengths[0])
    assert files.lengths[0] == length
    for start, frames in ((0, length), (1, 3000), (777, 3000), (16001, 3000), (length - 500, 900)):
        expected = decoded.read(0, start, frames)
        # What 16 bits round is left.
        assert np.abs(files.read(0, start, frames) - expected).max() < 2e-5, (start, frames)


def test_a_cut_mp3_is_as_long_as_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp3"
    soundfile.write(path, tone(200, 6.0), RATE, format="MP3", subtype="MPEG_LAYER_III")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    files = FileClips([path], RATE)
    length = int(files.lengths[0])
    assert 2 * RATE < length < 3 * RATE
    assert len(files.read(0, RATE, RATE)) == RATE
    assert len(files.read(0, 0, 6 * RATE)) == length


@pytest.mark.parametrize("rate", [RATE, 44100])
def test_slices_to_the_end_of_an_mp3_are_as_long_as_asked(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.mp3", tone(200, 1.0, rate), rate, format="MP3", subtype="MPEG_LAYER_III")
    files = FileClips([tmp_path / "a.mp3"], RATE)
    length = int(files.lengths[0])
    assert len(files.read(0, 0, length)) == length
    assert len(files.read(0, length - 100, 500)) == 100


def test_unwritable_cache(tmp_path: Path, paths: list[Path]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"data\.cache"):
        DecodedClips(paths, RATE, tmp_path / "file")


@pytest.mark.parametrize("decode_once", [True, False])
def test_broken_files_are_left_out_and_named(
    corpus: Path, decode_once: bool, caplog: pytest.LogCaptureFixture
) -> None:
    broken = corpus.parent / "valid" / "anna" / "0.wav"
    broken.write_bytes(b"RIFF" + bytes(100))
    (corpus.parent / "valid" / "bert" / "0.wav").unlink()
    # Each opening says it, that of samples decoded before too.
    for _ in range(2):
        caplog.clear()
        mixed = dataset(corpus, decode_once=decode_once)
        assert sum("left out: " in line for line in caplog.messages) == 2
    used = {f for i in range(20) for f in mixed.with_facts(i)[1]["speech_files"]}
    assert len(used) == 4
    assert str(broken) not in used
    assert {Path(p).parent.name: n for p, n in mixed.skipped.items()} == {"anna": 0, "bert": 0}


def test_values_that_are_not_finite_are_left_out(corpus: Path) -> None:
    path = corpus.parent / "valid" / "carl" / "1.wav"
    samples = tone(300, 3.0)
    samples[5] = np.nan
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    mixed = dataset(corpus)
    assert all(v.isfinite().all() for i in range(20) for v in mixed[i].values())
    assert mixed.skipped == {str(path): 0}
    assert "must be finite" in mixed.example.material.unreadable[str(path)]


def test_a_file_removed_in_mid_epoch_is_skipped_in_all_processes(
    corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mixed = dataset(corpus, decode_once=False)
    before = [mixed.with_facts(i)[1]["speech_files"] for i in range(20)]
    gone = corpus.parent / "valid" / "anna" / "1.wav"
    gone.unlink()
    after = [mixed.with_facts(i) for i in range(20)]
    assert any(str(gone) in files for files in before)
    for files, (_, facts) in zip(before, after, strict=True):
        assert str(gone) not in facts["speech_files"]
        if str(gone) not in files:
            assert facts["speech_files"] == files
    assert sum("skipped" in r.message for r in caplog.records) == 1
    times = sum(str(gone) in files for files in before)
    assert mixed.skipped[str(gone)] >= times
    assert len(mixed.skipped) == 1
    for workers in (0, 2):
        so_far = mixed.skipped[str(gone)]
        batches = list(torch.utils.data.DataLoader(mixed, 5, num_workers=workers))
        assert torch.equal(
            torch.cat([b["input"] for b in batches]), torch.stack([e["input"] for e, _ in after])
        )
        # What loader processes skip is counted here.
        assert mixed.skipped[str(gone)] >= so_far + times


def test_nothing_left_to_read(corpus: Path) -> None:
    mixed = dataset(corpus, decode_once=False)
    entries = read_manifest(corpus)
    for entry in entries:
        if entry.split == "valid" and entry.kind == "speech":
            entry.path.unlink()
    with pytest.raises(InputError, match="20 recordings in a row"):
        mixed[0]
    with pytest.raises(InputError, match="none of the 6 files of 'valid' can be read"):
        dataset(corpus)


def test_pairs_that_do_not_match(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noisy.wav", tone(200, 2.0), RATE)
    soundfile.write(tmp_path / "clean.wav", tone(200, 1.5), RATE)
    noisy, clean = tmp_path / "noisy.wav", tmp_path / "clean.wav"
    write_manifest(tmp_path / "m.csv", [Entry(noisy, "pair", split="valid", targets=(clean,))])
    with pytest.raises(InputError, match=r"differ in length by 0\.500 s"):
        dataset(tmp_path / "m.csv", speech=[], noise=[], pairs=[tmp_path / "m.csv"])
    write_manifest(
        tmp_path / "m.csv",
        [Entry(noisy, "pair", split="valid", targets=(noisy,)), Entry(noisy, "pair", split="valid")],
    )
    with pytest.raises(InputError, match="names 0 targets"):
        dataset(tmp_path / "m.csv", speech=[], noise=[], pairs=[tmp_path / "m.csv"])


def test_pairs_come_in_order_for_evaluation(tmp_path: Path) -> None:
    entries = []
    for n, pitch in enumerate((200, 300, 400)):
        noisy, clean = tmp_path / f"noisy{n}.wav", tmp_path / f"clean{n}.wav"
        soundfile.write(noisy, tone(pitch, 1 + n), RATE, subtype="FLOAT")
        soundfile.write(clean, 0.5 * tone(pitch, 1 + n), RATE, subtype="FLOAT")
        entries.append(Entry(noisy, "pair", f"s{n}", RATE, 1.0 + n, "valid", targets=(clean,)))
    write_manifest(tmp_path / "m.csv", entries)
    keys: dict[str, Any] = {"speech": [], "noise": [], "pairs": [tmp_path / "m.csv"]}
    whole = dataset(tmp_path / "m.csv", audio={"segment_seconds": None}, **keys)
    for n in range(3):
        example, facts = whole.with_facts(n)
        assert example["input"].shape == (1, (1 + n) * RATE)
        assert torch.allclose(example["target"], 0.5 * example["input"], atol=1e-4)
        assert facts["speech"] == f"s{n}"
    cut = dataset(tmp_path / "m.csv", **keys)
    assert cut[0]["input"].shape == (1, 24000)  # the first lasts 1 s: zeros follow
    assert cut[0]["input"][0, RATE:].abs().max() == 0
