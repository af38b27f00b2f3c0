"""Manifests and scans: what is found, whose it is, and what is said when it is not."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import soundfile
from kit.tones import BUNDLED, RATE, data_config, dataset, tone
from pydantic import ValidationError

from audiotool.data import sources
from audiotool.data.config import AudioConfig, DataConfig, Section, Split
from audiotool.data.entry import Entry
from audiotool.data.manifest import read_all, read_manifest, write_manifest
from audiotool.data.material import select, split_warnings
from audiotool.data.rooms import Rooms
from audiotool.data.scan import assign_splits, by_pattern, scan, uneven_splits
from audiotool.discovery import is_subclass
from audiotool.errors import InputError, RecipeError


def test_a_manifest_comes_back_as_written(tmp_path: Path) -> None:
    entries = [
        Entry(tmp_path / "a" / "x.wav", "speech", "anna", 16000, 1.5, "train", "here", "CC0-1.0"),
        Entry(
            tmp_path / "n, 1.wav",
            "pair",
            "bert",
            8000,
            2.0,
            "test",
            "there",
            "MIT",
            (tmp_path / "s1", tmp_path / "s2"),
        ),
        Entry(tmp_path / "line\nbreak.wav", "speech", '"carl"', 16000, 1.0, "train", "a, b"),
        Entry(tmp_path / "x\ry.wav", "speech", "\r\ndora", 16000, 1.0, "train", "here"),
    ]
    write_manifest(tmp_path / "sub" / "m.csv", entries)
    assert read_manifest(tmp_path / "sub" / "m.csv") == entries
    assert "../a/x.wav" in (tmp_path / "sub" / "m.csv").read_text()


def test_no_name_in_a_manifest_is_a_formula(tmp_path: Path) -> None:
    entry = Entry(tmp_path / "=1+1.wav", "pair", "@anna", targets=(tmp_path / "-a.wav", tmp_path / "+b.wav"))
    write_manifest(tmp_path / "m.csv", [entry])
    with (tmp_path / "m.csv").open(newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    (found,) = read_manifest(tmp_path / "m.csv")
    assert (found.path, found.group, found.targets) == (entry.path, entry.group, entry.targets)


def test_the_bundled_manifest_is_true() -> None:
    for entry in read_manifest(BUNDLED):
        assert entry.path.is_file()
        if entry.kind != "rir":
            info = soundfile.info(str(entry.path))
            assert (info.samplerate, info.duration) == (
                entry.sample_rate,
                pytest.approx(entry.seconds, abs=1e-3),
            )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line must name the columns"),
        ("file,split\na.wav,train\n", "found: file, split"),
        ("path,seconds\na.wav,long\n", "line 2: sample_rate and seconds must be numbers"),
        ("path,sample_rate\na.wav,inf\n", "line 2: sample_rate and seconds must be numbers"),
        ("path,seconds\na.wav,1\n\n\n,1\n", "line 5: the path is empty"),
        ("path,bandwidth_hz\na.wav,\na.wav,-5\n", r"line 3: .* bandwidth_hz 0 or more, found 0, 0\.0 and -5"),
        ("path,bandwidth_hz\na.wav,nan\n", "line 2: .*bandwidth_hz 0 or more"),
        ("path,bandwidth_hz\na.wav,inf\n", "line 2: .*bandwidth_hz 0 or more"),
        ('path,kind\n\n"a.wav,speech\nb.wav,speech\nc.wav,speech\n', "line 3: .*: perhaps a quotation mark"),
        ('path,kind\n"a.wav,speech\nb.wav,speech\n"c.wav,speech\n', "line 2: .*: perhaps a quotation mark"),
        ('path,kind\n"a.wav,speech\nb.wav,speech\nc.wav",speech\n', "line 2: a quotation mark begins a cell"),
        ('path,split,text\na.wav,train,"I came,\nb.flac,train,and, saw"\n', "line 2: a quotation mark"),
        ('path,split,text\na.wav,train,"I came\nb.flac,train,and saw"\n', "line 2: a quotation mark begins"),
        ("path,kind,split\na.wav,speech,valid\nb.wav,speech\n", "line 3: 2 cells for 3 columns"),
        ("path,kind,split\na,b.wav,speech,valid\n", "line 2: 4 cells for 3 columns"),
    ],
)
def test_invalid_manifests_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_manifest(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_manifest_as_a_spreadsheet_writes_it(tmp_path: Path, separator: str, encoding: str) -> None:
    lines = [("path", "kind", "seconds"), ("a.wav", "speech", "1,5"), ('"é,\n2.wav"', "noise", "2")]
    text = "\r\n".join(map(separator.join, lines)) + "\r\n"
    (tmp_path / "m.csv").write_bytes(text.encode(encoding))
    found = [(e.path.name, e.kind, e.seconds) for e in read_manifest(tmp_path / "m.csv")]
    assert found == [("a.wav", "speech", 1.5), ("é,\n2.wav", "noise", 2.0)]


def test_a_manifest_that_is_no_utf_16(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"\xff\xfex")
    with pytest.raises(InputError, match="begins as UTF-16 and is none"):
        read_manifest(tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ("path,text", "Hello, world.\nBye."),
        ("path,text", "Hello\nworld, bye."),
        ("path,split,text", "Hello, world.\r\n\r\nBye, then, Mr. X"),
        ("text,split,path", "Hello, world, and\nbye"),
    ],
)
def test_transcripts_may_have_line_breaks_and_commas(tmp_path: Path, columns: str, text: str) -> None:
    row = {"path": "a.wav", "split": "valid", "text": f'"{text}"'}
    lines = [columns, ",".join(row[name] for name in columns.split(",")), "b.wav" + "," * columns.count(",")]
    if columns.endswith("path"):
        lines[-1] = lines[-1][5:] + "b.wav"
    (tmp_path / "m.csv").write_text("\n".join(lines), newline="")
    assert [entry.path.name for entry in read_manifest(tmp_path / "m.csv")] == ["a.wav", "b.wav"]


def test_manifests_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="audiotool data scan"):
        read_manifest(tmp_path / "none.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_manifest(tmp_path / "file" / "m.csv", [])


def test_sources_add_up(corpus: Path) -> None:
    assert sources({"speech": [corpus, corpus], "noise": [corpus]}) == [
        {"name": "hiss", "licence": "CC-BY-4.0", "seconds": 16.0},
        {"name": "tones", "licence": "CC0-1.0", "seconds": 36.0},
    ]
    both = {"speech": [corpus], "noise": [corpus]}
    assert sources(both, exclude=["CC-BY-*", "anna"], splits=["train"]) == [
        {"name": "tones", "licence": "CC0-1.0", "seconds": 12.0}
    ]


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """A folder with a pack of two room responses of 0.1 s."""
    folder = tmp_path / "rooms"
    folder.mkdir()
    responses = np.zeros((2, 1600), np.float32)
    responses[:, 0] = 1
    np.savez(folder / "a.npz", rir=responses, length=[1600, 1600], sample_rate=16000, direct_sample=0)
    return folder


def test_sources_are_those_that_are_drawn_from(corpus: Path, rooms: Path) -> None:
    """A vocoder that takes the speech of a manifest has not heard its noise."""
    assert [s["name"] for s in sources({"speech": [corpus], "rir": [corpus]})] == ["tones"]
    assert sources({"rir": [rooms]}) == [{"name": "rooms", "licence": "unknown", "seconds": 0.2}]


@pytest.mark.parametrize("kept", [0, 700])
def test_packs_of_room_responses_cut_short_are_named(rooms: Path, kept: int) -> None:
    cut = rooms / "cut.npz"
    cut.write_bytes((rooms / "a.npz").read_bytes()[:kept])
    found = scan(rooms, "rir")
    assert [e.path.name for e in found.entries] == ["a.npz"]
    assert "not a pack of room responses" in found.unreadable[str(cut)]
    with pytest.raises(InputError, match=r"cut\.npz: not a pack of room responses"):
        Rooms([cut], 16000)


def test_scan_finds_speakers_and_skips_broken_files(tmp_path: Path) -> None:
    for speaker in range(8):
        for n in range(2):
            soundfile.write(tmp_path / f"s{speaker}-{n}.flac", tone(200, 1.0, 22050), 22050)
    (tmp_path / "broken.wav").write_bytes(b"RIFF nothing")
    (tmp_path / "notes.txt").write_text("no audio")
    found = scan(tmp_path, "speech", by_pattern(r"^(\w+)-"), keep=lambda p: p.name != "broken.wav")
    assert len(found.entries) == 16
    assert {e.group for e in found.entries} == {f"s{n}" for n in range(8)}
    assert all(e.sample_rate == 22050 and e.seconds == pytest.approx(1) for e in found.entries)
    # No speaker is in two splits, and none is empty.
    splits = {e.group: e.split for e in found.entries}
    assert all(splits[e.group] == e.split for e in found.entries)
    assert set(splits.values()) == {"train", "valid", "test"}
    assert "broken.wav" in next(iter(scan(tmp_path).unreadable))
    with pytest.raises(InputError, match=r"does not match broken\.wav|must match every file"):
        scan(tmp_path, "speech", by_pattern(r"^(nobody)"))
    with pytest.raises(InputError, match="no regular expression"):
        by_pattern("(")


def test_few_speakers_are_split_by_file(tmp_path: Path) -> None:
    entries = [Entry(tmp_path / f"{n}.wav", "speech", "anna", 16000, 1.0) for n in range(40)]
    split = assign_splits(entries, "auto")
    assert [e.split for e in split] == [e.split for e in assign_splits(entries[::-1], "auto")][::-1]
    assert {s: sum(e.split == s for e in split) for s in ("valid", "test")} == {"valid": 2, "test": 2}
    assert {e.split for e in assign_splits(entries, "test")} == {"test"}
    assert assign_splits(entries[:1], "auto")[0].split == "train"


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


def test_folders_without_audio(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        scan(tmp_path / "none")
    with pytest.raises(InputError, match="no audio found"):
        scan(tmp_path)


def test_a_folder_serves_as_a_manifest(tmp_path: Path) -> None:
    for kind in ("speech", "noise"):
        for n in range(10):
            path = tmp_path / kind / f"{n}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, tone(100 + 20 * n, 2.0), RATE)
    example = dataset(tmp_path / "speech", split="train", noise=[tmp_path / "noise"])[0]
    assert example["input"].abs().max() > 0


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
    splits = [{e.group for e in select(data, "speech", split, True)} for split in get_args(Split)]
    assert all(splits)
    assert set.union(*splits) == {f"speaker{n}" for n in range(6)}
    assert sum(map(len, splits)) == 6
    together = {e.path: e.split for e in scan(two_days[0].parent).entries}
    assert together == {e.path: e.split for e in read_all(two_days)}
    assert not split_warnings(data)


def test_a_manifest_is_looked_at_once_however_many_rows_it_has(
    two_days: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = scan(two_days[0]).entries
    write_manifest(tmp_path / "day1.csv", rows)
    looked_at: list[Path] = []
    is_dir = Path.is_dir

    def noted(path: Path) -> bool:
        looked_at.append(path)
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", noted)
    assert len(read_all([tmp_path / "day1.csv"])) == len(rows)
    assert len(looked_at) < len(rows)


def test_speakers_of_a_manifest_in_another_split_of_a_folder_are_named(two_days: list[Path]) -> None:
    manifest = two_days[0].parent / "day1.csv"
    write_manifest(manifest, scan(two_days[0], split="train").entries)
    (said,) = split_warnings(DataConfig(speech=[manifest, two_days[1]]))
    assert said.startswith("data.speech: 2 of 6 speakers are in several splits, such as speaker")
    # One speaker's folder is divided by file.
    mine = two_days[0].parent / "mine"
    (two_days[1] / "speaker0").rename(mine)
    for n in range(3):
        soundfile.write(mine / f"{n}.wav", tone(100, 1.0), RATE)
    assert len({entry.split for entry in read_all([mine])}) == 3
    assert not split_warnings(DataConfig(speech=[manifest, mine]))


def test_paths_are_looked_up_beside_the_recipe_then_here(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = DataConfig(speech=["manifest.csv"]).located(tmp_path)
    assert beside.speech == [corpus]
    monkeypatch.chdir(tmp_path)
    assert DataConfig(speech=["manifest.csv"]).located(tmp_path / "train").speech == [corpus]
    rooted = DataConfig(root=tmp_path, speech=["manifest.csv"]).located(Path("/"))
    assert rooted.speech == [corpus]
    assert rooted.located(Path("/")) == rooted
    with pytest.raises(RecipeError, match=r"data\.noise\[0\].*none\.csv"):
        DataConfig(noise=["none.csv"]).located(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"speach": []},
        {"mixing": {"snr_db": [10, 0]}},
        {"mixing": {"snr": [0, 10]}},
        {"augmentation": {"speed": [0, 1]}},
        {"mixing": {"noises": [0, 1]}},
        {"balance": 2},
    ],
)
def test_wrong_keys_and_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DataConfig(**values)


@pytest.mark.parametrize("section", ["mixing", "evaluation"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"noise_only_probability": 0.9, "clean_only_probability": 0.9},
            "noise_only_probability 0.9 and clean_only_probability 0.9 are shares of one whole",
        ),
        (
            {"synthetic": {"probability": 0.5}, "babble_probability": 0.6},
            "synthetic.probability 0.5 and babble_probability 0.6 are shares of one whole",
        ),
    ],
)
def test_shares_of_one_draw_are_at_most_one_together(
    section: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        DataConfig(**{section: values})
    # 0.7 + 0.3 is a whole, and a first one of 1 leaves nothing to the default of the other.
    DataConfig(**{section: {"noise_only_probability": 0.7, "clean_only_probability": 0.3}})
    DataConfig(**{section: {"noise_only_probability": 1.0, "synthetic": {"probability": 1.0}}})


def test_every_key_is_explained() -> None:
    def explained(section: type[Section]) -> None:
        for name, field in section.model_fields.items():
            inner = field.annotation
            if is_subclass(inner, Section):
                explained(inner)
            else:
                assert field.description, name

    explained(DataConfig)
    explained(AudioConfig)


def test_empty_splits_and_kinds_say_why(corpus: Path) -> None:
    with pytest.raises(RecipeError, match=r"'test' split is empty \(rows have: train, valid\)"):
        dataset(corpus, split="test")
    with pytest.raises(RecipeError, match=r"data\.speech is empty"):
        dataset(corpus, speech=[])
    with pytest.raises(RecipeError, match=r"data\.rir: no row is of kind rir"):
        dataset(corpus, split="train", rir=[corpus])
    with pytest.raises(RecipeError, match=r"data\.exclude leaves nothing"):
        dataset(corpus, exclude=["anna", "bert", "carl"])
    with pytest.raises(RecipeError, match="less than 48000 Hz"):
        dataset(corpus, audio={"sample_rate": 48000})
    assert dataset(corpus, audio={"sample_rate": 48000}, speech_minimum_rate=8000)[0]["input"].shape == (
        1,
        72000,
    )
    with pytest.raises(RecipeError, match=r"data\.noise: .*less than 44100 Hz.*data\.noise_minimum_rate"):
        dataset(corpus, noise_minimum_rate=44100)
    assert dataset(corpus, split="test", splits={"test": ["valid"]})[0]["input"].shape == (1, 24000)


def in_splits(place: Path, *rows: tuple[str, str, str, str]) -> DataConfig:
    """Speech and noise of a manifest of rows (path, kind, speaker or class, split)."""
    lines = ["path,kind,speaker_or_class,split", *(",".join(row) for row in rows)]
    (place / "m.csv").write_text("\n".join(lines))
    return data_config(place / "m.csv")


def test_what_is_in_several_splits_is_named(tmp_path: Path) -> None:
    rows = [(f"{speaker}.wav", "speech", speaker, "train") for speaker in "abc"]
    data = in_splits(tmp_path, *rows, ("b.wav", "speech", "b", "test"), ("c2.wav", "speech", "c", "valid"))
    recordings, speakers = split_warnings(data)
    wrong, there = "are in several splits, such as", f"{tmp_path}/b.wav"
    assert recordings.startswith(f"data.speech: 1 of 4 recordings {wrong} {there} in test and train: ")
    assert speakers.startswith(f"data.speech: 2 of 3 speakers {wrong} b in test and train: ")
    excluded = data.model_copy(update={"exclude": ["b", "c"]})
    assert not split_warnings(excluded)
    # The recipe itself puts one part into both.
    both = {"train": ["train", "valid"], "valid": ["valid"]}
    assert len(split_warnings(data.model_copy(update={"splits": both, "exclude": ["b"]}))) == 0


def test_pairs_in_several_splits_are_told_by_their_speakers_and_targets(tmp_path: Path) -> None:
    def said(*rows: str) -> list[str]:
        (tmp_path / "index.csv").write_text("\n".join(["noisy,clean,speech,split", *rows]))
        warnings = split_warnings(DataConfig(pairs=[tmp_path / "index.csv"]))
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
    recordings, speakers = (warning.partition(":")[::2] for warning in split_warnings(data))
    assert recordings[0] == speakers[0] == "data.speech and data.pairs"
    assert recordings[1].startswith(
        f" 1 of 5 recordings are in several splits, such as {tmp_path}/c/0.wav in"
    )
    assert speakers[1].startswith(" 1 of 3 speakers are in several splits, such as bert in train and valid")


def test_folders_of_rows_without_speakers_are_no_speakers(tmp_path: Path) -> None:
    rows = [(f"part{n % 4}/{n}.wav", "speech", "", "valid" if n > 8 else "train") for n in range(12)]
    assert not split_warnings(in_splits(tmp_path, *rows))


def test_classes_of_noise_and_one_reader_are_in_every_split(tmp_path: Path) -> None:
    splits = ("train", "valid", "test")
    noises = [(f"{split}.wav", "noise", "rain", split) for split in splits]
    reader = [(f"{n}/{split}.wav", "speech", n, split) for split in splits for n in "ab"]
    assert not split_warnings(in_splits(tmp_path, *noises, *reader))
    twice = split_warnings(in_splits(tmp_path, *noises, ("test.wav", "music", "song", "valid")))
    assert [line.partition(" are in")[0] for line in twice] == ["data.noise: 1 of 3 recordings"]
    assert not split_warnings(data_config(BUNDLED, rir=[BUNDLED]))


def test_rows_of_a_split_that_no_key_names_are_counted(tmp_path: Path) -> None:
    rows = [(f"{n}.wav", "speech", "anna", split) for n, split in enumerate(["test", "Test", "Test", "dev"])]
    data = in_splits(tmp_path, *rows)
    capital, dev = split_warnings(data)
    assert capital == (
        "data.speech: 2 of 4 rows have the split 'Test', which data.splits does not name: they are left out"
    )
    assert "1 of 4 rows have the split 'dev'" in dev
    named = data.model_copy(update={"splits": {"valid": ["dev"], "test": ["test", "Test"]}})
    assert not split_warnings(named)


def test_exclude_takes_speakers_paths_and_sources(corpus: Path) -> None:
    for pattern in ("bert", "*/bert/*", "bert/*"):
        mixed = dataset(corpus, exclude=[pattern])
        assert {mixed.with_facts(i)[1]["speech"] for i in range(20)} == {"anna", "carl"}
    with pytest.raises(RecipeError, match="exclude"):
        dataset(corpus, exclude=["tones"])


def test_balance_draws_speakers_equally(tmp_path: Path) -> None:
    entries = []
    for speaker, seconds in (("much", 30.0), ("little", 2.0)):
        path = tmp_path / f"{speaker}.wav"
        soundfile.write(path, tone(200, seconds), RATE)
        entries.append(Entry(path, "speech", speaker, RATE, seconds, "valid"))
    soundfile.write(tmp_path / "n.wav", 0.1 * np.random.default_rng(0).standard_normal(RATE), RATE)
    entries.append(Entry(tmp_path / "n.wav", "noise", "n", RATE, 1.0, "valid"))
    write_manifest(tmp_path / "m.csv", entries)

    def share(balance: float) -> float:
        pool = dataset(tmp_path / "m.csv", balance=balance).example.material.speech
        assert pool is not None
        rng = np.random.default_rng(0)
        return float(np.mean([pool.draw_group(rng) == "little" for _ in range(400)]))

    assert share(0) == pytest.approx(2 / 32, abs=0.05)
    assert share(1) == pytest.approx(0.5, abs=0.08)


def test_defaults_are_a_valid_section(corpus: Path) -> None:
    assert DataConfig.model_validate(data_config(corpus).model_dump()) == data_config(corpus)
