"""Splits: how folders are divided, and what is said of material that is in several or in none."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import soundfile
from kit.tones import BUNDLED, RATE, data_config, tone

from audiotool.data.config import AudioConfig, DataConfig, Split
from audiotool.data.entry import Entry
from audiotool.data.manifest import read_all, read_manifest, write_manifest
from audiotool.data.rows import select, split_warnings
from audiotool.data.scan import assign_splits, folder_speaker, scan, uneven_splits

AUDIO = AudioConfig()


def test_few_speakers_are_split_by_file(tmp_path: Path) -> None:
    entries = [Entry(tmp_path / f"{n}.wav", "speech", "anna", 16000, 1.0) for n in range(40)]
    split = assign_splits(entries, "auto")
    assert [e.split for e in split] == [e.split for e in assign_splits(entries[::-1], "auto")][::-1]
    assert {s: sum(e.split == s for e in split) for s in ("valid", "test")} == {"valid": 2, "test": 2}
    assert {e.split for e in assign_splits(entries, "test")} == {"test"}
    assert assign_splits(entries[:1], "auto")[0].split == "train"


def test_splits_of_one_speaker_are_named(tmp_path: Path) -> None:
    for speaker in range(6):
        (tmp_path / f"speaker{speaker}").mkdir()
        soundfile.write(tmp_path / f"speaker{speaker}" / "a.wav", tone(100, 1.0), RATE)
    found = scan(tmp_path)
    said = [note for note in found.notes if "has one speaker" in note]
    alone = {split: {e.group for e in found.entries if e.split == split} for split in ("test", "valid")}
    assert [note.partition(":")[0] for note in said] == [
        f"{split} has one speaker ({speaker})" for split, (speaker,) in alone.items()
    ]
    assert not [note for note in scan(tmp_path, "noise").notes if "has one speaker" in note]


def test_five_speakers_are_split_as_equally_as_possible(tmp_path: Path) -> None:
    minutes = {"a": 44, "b": 26, "c": 14, "d": 9, "e": 7}
    entries = [
        Entry(tmp_path / name / f"{n}.wav", "speech", name, 16000, 60.0)
        for name, count in minutes.items()
        for n in range(count)
    ]
    shares: dict[str, float] = defaultdict(float)
    for entry in assign_splits(entries, "auto"):
        shares[entry.split] += entry.seconds / 6000
    assert {round(100 * share) for share in shares.values()} == {7, 9, 84}
    assert round(100 * shares["train"]) == 84
    assert not uneven_splits(assign_splits(entries, "auto"))
    equal = [replace(e, seconds=60.0 / minutes[e.group]) for e in entries]
    messages = uneven_splits(assign_splits(equal, "auto"))
    assert messages[0].startswith("valid has 20% of the seconds, where 5% was meant")
    assert messages[1].startswith("test has 20%")


@pytest.fixture
def two_days(tmp_path: Path) -> list[Path]:
    """Two folders of the same six speakers, who read more on the second day."""
    days = [tmp_path / "day1", tmp_path / "day2"]
    for day, seconds in zip(days, (1.0, 2.0), strict=True):
        for speaker in range(6):
            path = day / f"speaker{speaker}" / f"{seconds}.wav"
            path.parent.mkdir(parents=True)
            soundfile.write(path, tone(100 + 20 * speaker, seconds), RATE)
    return days


def test_a_speaker_in_two_folders_is_in_one_split(two_days: list[Path]) -> None:
    data = DataConfig(speech=two_days)
    splits = [{e.group for e in select(data, AUDIO, "speech", split, True)} for split in get_args(Split)]
    assert all(splits)
    assert set.union(*splits) == {f"speaker{n}" for n in range(6)}
    assert sum(map(len, splits)) == 6
    together = {e.path: e.split for e in scan(two_days[0].parent).entries}
    assert together == {e.path: e.split for e in read_all(two_days)}
    assert not split_warnings(data, AUDIO)


@pytest.mark.parametrize(
    "layout", ["{0}/{1}/a.wav", "{0}/{1}/{0}-{1}.wav", "{0}/{1}/wav/a.wav", "sets/{0}/{1}/a.wav"]
)
def test_folders_of_a_speaker_stay_together(tmp_path: Path, layout: str) -> None:
    paths = [tmp_path / layout.format(19 + s, f"{s}{c}") for s in range(8) for c in range(3)]
    for path in paths:
        path.parent.mkdir(parents=True)
        soundfile.write(path, tone(200, 0.1), RATE)
    found = scan(tmp_path)
    assert {e.group for e in found.entries} == {str(19 + s) for s in range(8)}
    splits: dict[str, set[str]] = defaultdict(set)
    for entry in found.entries:
        splits[entry.group].add(entry.split)
    assert all(len(of_speaker) == 1 for of_speaker in splits.values())
    assert set.union(*splits.values()) == set(get_args(Split))
    first = layout.format(19, "00")
    assert (
        found.notes[0]
        == f"speakers are names of folders, such as 19 of {first}; --speaker-pattern finds others"
    )
    # Rows that name no speaker are of the same one.
    manifest = tmp_path / "m.csv"
    manifest.write_text("\n".join(["path", *(path.relative_to(tmp_path).as_posix() for path in paths)]))
    assert {e.group for e in read_manifest(manifest)} == set(splits)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("{part}-clean/{speaker}/{chapter}/a.wav", {"19", "20", "21"}),
        ("{part}/{speaker}.wav", {"train", "dev", "Test"}),
        ("{part}s/{speaker}/a.wav", {"trains", "devs", "Tests"}),
    ],
    ids=["speakers below", "nothing below", "other words"],
)
def test_parts_of_a_corpus_are_no_speakers(layout: str, expected: set[str]) -> None:
    parts = enumerate(("train", "dev", "Test"))
    paths = [Path(layout.format(part=part, speaker=19 + n, chapter=n)) for n, part in parts]
    assert {folder_speaker(paths)(path) for path in paths} == expected


def test_a_split_by_file_is_said(tmp_path: Path) -> None:
    for speaker in "ab":
        (tmp_path / speaker).mkdir()
        for n in range(3):
            soundfile.write(tmp_path / speaker / f"{n}.wav", tone(200, 0.1), RATE)
    [said] = [note for note in scan(tmp_path).notes if "by file" in note]
    assert said.startswith("fewer than 3 speakers (a, b): the split is by file")
    assert not [note for note in scan(tmp_path, split="train").notes if "by file" in note]
    assert not [note for note in scan(tmp_path).notes if "has one speaker" in note]
    assert not [note for note in scan(tmp_path, "noise").notes if "speakers (" in note]


def test_speakers_of_a_manifest_in_another_split_of_a_folder_are_named(two_days: list[Path]) -> None:
    manifest = two_days[0].parent / "day1.csv"
    write_manifest(manifest, scan(two_days[0], split="train").entries)
    (said,) = split_warnings(DataConfig(speech=[manifest, two_days[1]]), AUDIO)
    assert said.startswith("data.speech: 2 of 6 speakers are in several splits, such as speaker")
    # One speaker's folder is divided by file.
    mine = two_days[0].parent / "mine"
    (two_days[1] / "speaker0").rename(mine)
    for n in range(3):
        soundfile.write(mine / f"{n}.wav", tone(100, 1.0), RATE)
    assert len({entry.split for entry in read_all([mine])}) == 3
    assert not split_warnings(DataConfig(speech=[manifest, mine]), AUDIO)


def in_splits(place: Path, *rows: tuple[str, str, str, str]) -> DataConfig:
    """Speech and noise of a manifest of rows (path, kind, speaker or class, split)."""
    lines = ["path,kind,speaker_or_class,split", *(",".join(row) for row in rows)]
    (place / "m.csv").write_text("\n".join(lines))
    return data_config(place / "m.csv")


def test_what_is_in_several_splits_is_named(tmp_path: Path) -> None:
    rows = [(f"{speaker}.wav", "speech", speaker, "train") for speaker in "abc"]
    data = in_splits(tmp_path, *rows, ("b.wav", "speech", "b", "test"), ("c2.wav", "speech", "c", "valid"))
    recordings, speakers = split_warnings(data, AUDIO)
    wrong, there = "are in several splits, such as", f"{tmp_path}/b.wav"
    assert recordings.startswith(f"data.speech: 1 of 4 recordings {wrong} {there} in test and train: ")
    assert speakers.startswith(f"data.speech: 2 of 3 speakers {wrong} b in test and train: ")
    excluded = data.model_copy(update={"exclude": ["b", "c"]})
    assert not split_warnings(excluded, AUDIO)
    # The recipe itself puts one part into both.
    both = {"train": ["train", "valid"], "valid": ["valid"]}
    assert len(split_warnings(data.model_copy(update={"splits": both, "exclude": ["b"]}), AUDIO)) == 0


def test_recordings_of_a_lower_rate_are_left_out_of_warnings(tmp_path: Path) -> None:
    rows = [
        Entry(tmp_path / f"{speaker}.wav", "speech", speaker, rate, 1.0, split)
        for speaker, rate in (("anna", 8000), ("bert", 16000), ("carl", 0))
        for split in ("train", "valid", "test" if rate else "dev")
    ]
    write_manifest(tmp_path / "m.csv", rows)
    said = split_warnings(DataConfig(speech=[tmp_path / "m.csv"]), AUDIO)
    assert [line.partition(", ")[0] for line in said] == [
        "data.speech: 1 of 6 rows have the split 'dev'",
        "data.speech: 2 of 2 recordings are in several splits",
    ]


def test_pairs_in_several_splits_are_told_by_their_speakers_and_targets(tmp_path: Path) -> None:
    def said(*rows: str) -> list[str]:
        (tmp_path / "index.csv").write_text("\n".join(["noisy,clean,speech,split", *rows]))
        warnings = split_warnings(DataConfig(pairs=[tmp_path / "index.csv"]), AUDIO)
        return [warning.partition(":")[2].partition(":")[0].strip() for warning in warnings]

    wrong = "are in several splits, such as"
    train = ["n/0.wav,c/0.wav,anna+bert,train", "n/1.wav,c/1.wav,dora+emil,train"]
    assert not said(*train, "n/2.wav,c/2.wav,carl+fred,valid")
    assert said(*train, "n/2.wav,c/2.wav,anna+carl,valid") == [
        f"1 of 5 speakers {wrong} anna in train and valid"
    ]
    assert said(*train, "n/2.wav,c/1.wav,carl,valid") == [
        f"1 of 5 recordings {wrong} {tmp_path}/c/1.wav in train and valid"
    ]
    # Noise alone has no speaker.
    assert not said(*train, "n/2.wav,c/2.wav,,train", "n/3.wav,c/3.wav,,valid")


def test_speech_in_one_split_and_pairs_in_another_are_named(tmp_path: Path) -> None:
    for name, rows in (
        (
            "speech.csv",
            ["path,kind,speaker_or_class,split", "c/0.wav,speech,anna,train", "s.wav,speech,bert,train"],
        ),
        (
            "pairs.csv",
            ["noisy,clean,speech,split", "n/0.wav,c/0.wav,carl,valid", "n/1.wav,c/1.wav,bert,valid"],
        ),
    ):
        (tmp_path / name).write_text("\n".join(rows))
    data = DataConfig(speech=[tmp_path / "speech.csv"], pairs=[tmp_path / "pairs.csv"])
    recordings, speakers = (warning.partition(":")[::2] for warning in split_warnings(data, AUDIO))
    assert recordings[0] == speakers[0] == "data.speech and data.pairs"
    assert recordings[1].startswith(
        f" 1 of 5 recordings are in several splits, such as {tmp_path}/c/0.wav in"
    )
    assert speakers[1].startswith(" 1 of 3 speakers are in several splits, such as bert in train and valid")


def test_folders_of_rows_without_speakers_are_no_speakers(tmp_path: Path) -> None:
    rows = [(f"part{n % 4}/{n}.wav", "speech", "", "valid" if n > 8 else "train") for n in range(12)]
    assert not split_warnings(in_splits(tmp_path, *rows), AUDIO)


def test_classes_of_noise_and_one_reader_are_in_every_split(tmp_path: Path) -> None:
    splits = ("train", "valid", "test")
    noises = [(f"{split}.wav", "noise", "rain", split) for split in splits]
    reader = [(f"{n}/{split}.wav", "speech", n, split) for split in splits for n in "ab"]
    assert not split_warnings(in_splits(tmp_path, *noises, *reader), AUDIO)
    twice = split_warnings(in_splits(tmp_path, *noises, ("test.wav", "music", "song", "valid")), AUDIO)
    assert [line.partition(" are in")[0] for line in twice] == ["data.noise: 1 of 3 recordings"]
    assert not split_warnings(data_config(BUNDLED, rir=[BUNDLED]), AUDIO)


def test_rows_of_a_split_that_no_key_names_are_counted(tmp_path: Path) -> None:
    rows = [(f"{n}.wav", "speech", "anna", split) for n, split in enumerate(["test", "Test", "Test", "dev"])]
    data = in_splits(tmp_path, *rows)
    capital, dev = split_warnings(data, AUDIO)
    assert capital == (
        "data.speech: 2 of 4 rows have the split 'Test', which data.splits does not name: they are left out"
    )
    assert "1 of 4 rows have the split 'dev'" in dev
    named = data.model_copy(update={"splits": {"valid": ["dev"], "test": ["test", "Test"]}})
    assert not split_warnings(named, AUDIO)
