"""Manifests and scans: what is found, whose it is, what a recipe says of it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import soundfile
from kit.tones import BUNDLED, RATE, data_config, dataset, tone
from pydantic import ValidationError

from audiotool.data import sources
from audiotool.data.config import AudioConfig, DataConfig, Split
from audiotool.data.entry import Entry
from audiotool.data.manifest import read_all, read_manifest, write_manifest
from audiotool.data.rooms import Rooms
from audiotool.data.scan import by_pattern, scan
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


def all_sources(data: DataConfig, splits: tuple[Split, ...] = get_args(Split)) -> list[dict[str, Any]]:
    return sources(data, AudioConfig(), splits)


def test_sources_add_up(corpus: Path) -> None:
    assert all_sources(DataConfig(speech=[corpus, corpus], noise=[corpus])) == [
        {"name": "hiss", "licence": "CC-BY-4.0", "seconds": 16.0},
        {"name": "tones", "licence": "CC0-1.0", "seconds": 36.0},
    ]
    some = DataConfig(speech=[corpus], noise=[corpus], exclude=["CC-BY-*", "anna"])
    assert all_sources(some, ("train",)) == [{"name": "tones", "licence": "CC0-1.0", "seconds": 12.0}]


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
    assert [s["name"] for s in all_sources(DataConfig(speech=[corpus], rir=[corpus]))] == ["tones"]
    heard = DataConfig(rir=[rooms])
    assert all_sources(heard) == [{"name": "rooms", "licence": "unknown", "seconds": 0.2}]
    # Validation is without rooms unless the recipe asks for them.
    assert not all_sources(heard.model_copy(update={"splits": {"valid": ["train"]}}), ("valid",))
    silent = {"reverberation_probability": 0, "babble_probability": 0}
    assert not all_sources(DataConfig(rir=[rooms], mixing=silent))
    for key in ("babble_probability", "noise_reverberation_probability"):
        assert all_sources(DataConfig(rir=[rooms], mixing=silent | {key: 0.1}))


@pytest.mark.parametrize(
    ("kind", "key"), [("speech", "speech_minimum_rate"), ("noise", "noise_minimum_rate")]
)
def test_sources_are_without_recordings_of_a_lower_rate(tmp_path: Path, kind: str, key: str) -> None:
    rows = [
        Entry(tmp_path / f"{source}.wav", kind, "a", rate, 2.5, source=source)
        for source, rate in (("telephone", 8000), ("studio", 44100), ("unknown", 0))
    ]
    write_manifest(tmp_path / "m.csv", rows)

    def names(**changes: Any) -> list[str]:
        return [s["name"] for s in all_sources(DataConfig(**{kind: [tmp_path / "m.csv"]} | changes))]

    assert names(**{key: 16000}) == ["studio", "unknown"]
    assert names(**{key: 0}) == ["studio", "telephone", "unknown"]
    # The default of speech is audio.sample_rate.
    assert ("telephone" in names()) == (kind == "noise")


def test_sources_are_without_pairs_that_are_never_drawn(corpus: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.csv", [Entry(tmp_path / "a.wav", "pair", "x", 16000, 1.0, source="pairs")])

    def names(**changes: Any) -> list[str]:
        return [s["name"] for s in all_sources(DataConfig(pairs=[tmp_path / "m.csv"], **changes))]

    assert names(speech=[corpus]) == ["pairs", "tones"]
    assert names(speech=[corpus], pairs_probability=0) == ["tones"]
    assert names(pairs_probability=0) == ["pairs"]


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


def test_a_manifest_is_looked_at_once_however_many_rows_it_has(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = read_manifest(corpus)
    looked_at: list[Path] = []
    is_dir = Path.is_dir

    def noted(path: Path) -> bool:
        looked_at.append(path)
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", noted)
    assert len(read_all([corpus])) == len(rows)
    assert len(looked_at) < len(rows)


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
