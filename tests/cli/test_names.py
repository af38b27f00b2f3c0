"""File names of any kind are processed, printed and reported by every command that takes files."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kit.audio import write_speech
from kit.command import run_command
from kit.patience import PATIENCE
from typer.testing import Result

from audiotool import checkpoint
from audiotool.data.manifest import read_manifest
from audiotool.metrics.pairing import pair_files

LATIN_1 = os.fsdecode(b"caf\xe9.wav")
NAMES = {
    "not UTF-8": (LATIN_1, r"caf\xe9.wav"),
    "markup": ("Talk [dQw4] [red].wav", "Talk [dQw4] [red].wav"),
    "closing tag": ("take [", "take [/old].wav"),
    "emoji code": ("nice :smile:.wav", "nice :smile:.wav"),
    "escape sequence": ("a\x1b[2Jb\x07.wav", r"a\x1b[2Jb\x07.wav"),
    "line break": ("a\nb.wav", "a b.wav"),
    "marks of direction": ("\u200fa\u061cb\ufeff.wav", r"\u200fa\u061cb\ufeff.wav"),
    "tags": ("a\U000e0041.wav", r"a\U000e0041.wav"),
    "an option's": ("--help.wav", "--help.wav"),
    "blank at the end": ("a .wav", "a .wav"),
    "blanks": ("a  b.wav", "a  b.wav"),
}
COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def run(*words: str | Path) -> Result:
    return run_command(*words, env={"COLUMNS": "120"})


@pytest.fixture(params=NAMES)
def named(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, str]:
    """A recording below the folder "in" and how its name is shown; another recording lies beside it."""
    monkeypatch.chdir(tmp_path)
    name, shown = NAMES[request.param]
    path = Path("in") / name
    if request.param == "closing tag":
        path = path / "old].wav"
    write_speech(Path("in/ordinary.wav"))
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy("in/ordinary.wav", path)
    return path, shown


def test_denoise(named: tuple[Path, str], tiny_checkpoint: Path) -> None:
    path, shown = named
    words = ["denoise", "in", "-o", "out", "--checkpoint", str(tiny_checkpoint), "--device", "cpu"]
    words += ["--reference", "in", "--report", "r.json"]
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert sorted(os.listdir("out")) == sorted(os.listdir("in"))
    assert (Path("out") / path.relative_to("in")).is_file()
    assert shown in done.stderr
    assert "\x1b" not in done.output
    rows = json.loads(Path("r.json").read_text(encoding="utf-8"))["files"]
    assert len(rows) == 2
    assert {row["status"] for row in rows} == {"done"}


def test_evaluate(named: tuple[Path, str]) -> None:
    _, shown = named
    done = run(
        "evaluate", *("--reference", "in", "--estimate", "in"), "--metrics", "si_sdr", "--report", "r.csv"
    )
    assert done.exit_code == 0, done.output
    assert shown.removesuffix(".wav") in done.stdout
    assert "\x1b" not in done.stdout
    with open("r.csv", newline="", encoding="utf-8") as file:
        assert [row["si_sdr"] for row in csv.DictReader(file)][:2] == ["100", "100"]


def test_manifests_find_their_files(named: tuple[Path, str]) -> None:
    path, _ = named
    assert run("data", "scan", "in", "-o", "m.csv").exit_code == 0
    assert path.resolve() in {entry.path for entry in read_manifest("m.csv")}


def test_unreadable_files_are_reported(named: tuple[Path, str]) -> None:
    path, shown = named
    path.write_bytes(b"Dear friend, ...")
    done = run("evaluate", *("--reference", "in", "--estimate", "in"), "--metrics", "si_sdr")
    assert done.exit_code == 1
    assert f"in/{shown} cannot be read as audio" in done.stderr
    missing = run("evaluate", "--reference", f"no-{path.name}", "--estimate", "in")
    assert missing.exit_code == 2
    assert "\x1b" not in missing.output


def test_mels_and_checkpoints_of_such_names(tmp_path: Path, tiny_checkpoint: Path) -> None:
    folder = tmp_path / os.fsdecode(b"mod\xe8les [x]")
    folder.mkdir()
    path = folder / "tiny.safetensors"
    shutil.copy(tiny_checkpoint, path)
    assert checkpoint.load(path)[1].task == "denoise"
    shown = run("models", "show", path)
    assert shown.exit_code == 0, shown.output
    assert r"mod\xe8les" in shown.stdout
    card = run("models", "card", path, "-o", folder / "card.md")
    assert card.stdout == f"{tmp_path}/mod\\xe8les [x]/card.md\n"
    shutil.copy(write_speech(tmp_path / "in.wav", 0.5, 22050), folder / "in.wav")
    mel = folder / "mel.safetensors"
    made = run("vocode", "--mel-only", "--preset", "hifigan-22k", folder / "in.wav", "-o", mel)
    assert made.exit_code == 0, made.output
    from audiotool.audio.mel_file import FeatureReader

    with FeatureReader(mel, (80,)) as reader:
        assert reader.shape[0] == 80


def test_a_batch_on_a_terminal(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """Names are shown as they are, one by one, and what was done stays on the screen."""
    recording = write_speech(tmp_path / "recording.wav", 0.1)
    for name in ("take [/old].wav", "Talk [red].wav", LATIN_1, "a\x1b[2J.wav"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(recording, path)
    command = [sys.executable, "-c", "import pty, sys, os; s = pty.spawn(sys.argv[1:]); sys.exit(s >> 8)"]
    command += [sys.executable, "-m", "audiotool", "denoise", "in", "-o", "out", "--device", "cpu"]
    command += ["--checkpoint", str(tiny_checkpoint)]
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=PATIENCE)
    text = done.stdout.decode()
    assert done.returncode == 0, text
    for shown in ("take [/old].wav ->", "Talk [red].wav ->", r"caf\xe9.wav ->", r"a\x1b[2J.wav ->"):
        assert shown in text
    assert "s of audio in" in text
    assert "\x1b[2J" not in text


def test_names_in_either_unicode_form_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, name in (("ref", DECOMPOSED), ("est", COMPOSED)):
        write_speech(Path(folder) / name / f"{name}.wav")
    done = run("evaluate", "--reference", "ref", "--estimate", "est", "--metrics", "si_sdr")
    assert done.exit_code == 0, done.output
    assert "100.000" in done.stdout


def test_references_and_f0_match_in_either_form(tmp_path: Path, tiny_checkpoint: Path) -> None:
    from audiotool.batch.inputs import Found
    from audiotool.batch.references import References
    from audiotool.paths import like_named
    from audiotool.tasks.vocode import Vocode, VocodeOptions

    reference = write_speech(tmp_path / "ref" / DECOMPOSED / f"{DECOMPOSED}.flac")
    relative = Path(COMPOSED) / f"{COMPOSED}.wav"
    found = References(tmp_path / "ref", ("speech",), several=True).of(Found(tmp_path / relative, relative))
    assert found == (reference,)
    np.save(tmp_path / "ref" / f"{DECOMPOSED}.npy", np.zeros(3))
    (f0,) = Vocode(VocodeOptions(f0=tmp_path / "ref")).f0_of(Path(f"{COMPOSED}.wav"))
    assert like_named(f0) == tmp_path / "ref" / f"{DECOMPOSED}.npy"


def test_names_in_the_other_unicode_form_are_found(tmp_path: Path, tiny_checkpoint: Path) -> None:
    input_path = write_speech(tmp_path / DECOMPOSED / f"{DECOMPOSED}.wav")
    typed = tmp_path / COMPOSED / f"{COMPOSED}.wav"
    done = run(
        "denoise", typed, "-o", tmp_path / "o.wav", "--checkpoint", tiny_checkpoint, "--reference", typed
    )
    assert done.exit_code == 0, done.output
    words = ("--reference", typed, "--estimate", input_path.parent / typed.name, "--metrics", "si_sdr")
    done = run("evaluate", *words)
    assert "100.000" in done.stdout


def test_names_that_differ_in_their_form_alone_are_two(tmp_path: Path) -> None:
    for seconds, name in ((0.5, DECOMPOSED), (0.75, COMPOSED)):
        for folder in ("ref", "est"):
            write_speech(tmp_path / folder / f"{name}.wav", seconds)
    if len(list((tmp_path / "ref").iterdir())) == 1:
        pytest.skip("this file system takes them for one")
    pairs = pair_files(tmp_path / "ref", tmp_path / "est")
    assert len(pairs) == 2
    assert all(pair.reference and pair.reference.name == pair.estimate.name for pair in pairs)
    (tmp_path / "ref" / f"{DECOMPOSED}.wav").unlink()
    pairs = pair_files(tmp_path / "ref", tmp_path / "est")
    assert {pair.reference and pair.reference.name for pair in pairs} == {f"{COMPOSED}.wav"}


def test_a_file_that_is_named_as_standard_input(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_speech(tmp_path / "a.wav").rename(tmp_path / "-")
    done = run("denoise", "./-", "-o", "o.wav", "--checkpoint", tiny_checkpoint)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "o.wav").is_file()


@pytest.mark.parametrize(
    "words",
    [
        ["denoise", "LONG"],
        ["denoise", "a.wav", "--reference", "LONG"],
        ["train", "LONG"],
        ["data", "scan", "LONG"],
    ],
)
def test_a_name_that_no_file_can_have(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_speech(tmp_path / "a.wav")
    name = 300 * "x" + ".wav"
    extra = {"denoise": ["-o", "o.wav"], "data": ["-o", "m.csv"]}.get(words[0], [])
    done = run(*(name if word == "LONG" else word for word in words), *extra)
    assert done.exit_code == 2
    assert done.stderr.startswith("audiotool: error: ")
    assert done.stderr.endswith(f"{name}: File name too long\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["-leading dash.wav", "-x.wav", "--take.wav"])
def test_a_name_that_is_taken_for_options_says_how_it_is_given(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_speech(Path(name))
    done = run_command("denoise", name, "-o", "out.wav", env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert f"the file is given as {shlex.quote(f'./{name}')}" in done.output
    assert "the file" not in run_command("denoise", "--nothing").output
