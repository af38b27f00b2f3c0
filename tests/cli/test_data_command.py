"""`audiotool data`, as a user types it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.command import run_command, run_process

BUNDLED = Path(__file__).parent.parent / "data" / "audio"


def test_scan_writes_a_manifest_and_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "speech").symlink_to(BUNDLED / "speech")
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    output = tmp_path / "m.csv"
    facts = ("--speaker-pattern", r"(LJ\d+|broken)", "--licence", "public-domain")
    done = run_process("data", "scan", tmp_path, "-o", output, *facts)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{output}\n"
    assert "broken.wav" in done.stderr
    assert "16000 Hz" in done.stderr
    rows = list(csv.DictReader(output.open()))
    assert {r["speaker_or_class"] for r in rows} == {"LJ001", "LJ003"}
    assert {r["licence"] for r in rows} == {"public-domain"}
    assert all((tmp_path / r["path"]).is_file() for r in rows)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["scan", "none", "-o", "m.csv"], 1, "no such folder"),
        (["scan", ".", "-o", "m.csv"], 1, "no audio found"),
        (["scan", ".", "-o", "m.csv", "--kind", "music box"], 2, "music box"),
        (["scan", ".", "-o", "m.wav"], 2, "m.wav: a manifest ends in .csv"),
        (["scan", ".", "-o", "m.csv", "--kind", "pair"], 2, "pairs need the folder of the clean"),
        (["scan", ".", "-o", "m.csv", "--stems", "a,b"], 2, "pairs need the folder of the clean"),
        (["scan", ".", "-o", "m.csv", "--targets", ".", "--kind", "rir"], 2, "leave --kind rir out"),
        (["scan", ".", "-o", "m.csv", "--targets", ".", "--stems", "a,a"], 2, "a name of its own"),
        (["prepare", "voicebnk", ".", "-o", "m.csv"], 2, "did you mean 'voicebank'"),
        (["prepare", "vctk", ".", "-o", "m.csv"], 1, "wav48_silence_trimmed"),
        (["prepare", "vctk", ".", "-o", "manifest"], 2, "manifest: a manifest ends in .csv"),
        (["prepare", "vctk", ".", "-o", "m.csv", "--part", "mic3"], 2, "mic1, mic2"),
        (["prepare", "dns", ".", "-o", "m.csv", "--part", "x"], 2, "no parts"),
        (["mix", "none.yaml", "-o", "set"], 2, "none.yaml"),
        (["mix", "cleanunet-small", "-o", "set", "--split", "auto"], 2, "train, valid or test"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_command("data", *words)
    assert done.exit_code == code
    assert message in done.stderr
    assert "internal error" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["scan", "takes"], ["prepare", "ljspeech", "takes"]])
def test_a_manifest_that_exists_is_kept(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wavs = tmp_path / "takes" / "wavs"
    wavs.mkdir(parents=True)
    soundfile.write(wavs / "LJ001-0001.wav", np.zeros(1600), 16000)
    manifest = tmp_path / "m.csv"
    manifest.write_text("split by hand\n")
    refused = run_command("data", *words, "-o", manifest)
    assert refused.exit_code == 2
    assert "exists: give --overwrite to replace it" in " ".join(refused.stderr.split())
    assert manifest.read_text() == "split by hand\n"
    replaced = run_command("data", *words, "-o", manifest, "--overwrite")
    assert replaced.exit_code == 0, replaced.stderr
    assert "LJ001-0001.wav" in manifest.read_text()


def test_an_empty_split_of_a_corpus_is_said(tmp_path: Path) -> None:
    for side in ("clean", "noisy"):
        (tmp_path / f"{side}_trainset_28spk_wav").mkdir()
        soundfile.write(tmp_path / f"{side}_trainset_28spk_wav" / "p226_001.wav", np.zeros(1600), 16000)
    done = run_command("data", "prepare", "voicebank", tmp_path, "-o", tmp_path / "m.csv")
    assert done.exit_code == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "empty" in line] == [
        "audiotool: train is empty",
        "audiotool: test is empty",
    ]


def test_mix_renders_a_recipes_test_set(tmp_path: Path) -> None:
    words = ["mix", "cleanunet-small", "--count", "2", "--set", f"data.root={BUNDLED}"]
    words += ["--set", f"data.cache={tmp_path / 'cache'}"]
    for kind in ("speech", "noise", "rir"):
        words += ["--set", f"data.{kind}=[manifest.csv]"]
    for name, seed in (("one", 3), ("other", 4)):
        done = run_command("data", *words, "-o", tmp_path / name, "--seed", seed)
        assert done.exit_code == 0, done.stderr
        assert done.stdout == f"{tmp_path / name / 'index.csv'}\n"
    one, other = ((tmp_path / n / "noisy" / "00001.wav").read_bytes() for n in ("one", "other"))
    assert one != other
    rows = list(csv.DictReader((tmp_path / "one" / "index.csv").open()))
    assert [r["seed"] for r in rows] == ["3", "3"]
    assert all(0 <= float(r["snr_db"]) <= 15 for r in rows)
    noisy, clean = (soundfile.read(tmp_path / "one" / rows[0][k])[0] for k in ("noisy", "clean"))
    speech, noise = clean.std(), (noisy - clean).std()
    assert 20 * np.log10(speech / noise) == pytest.approx(float(rows[0]["snr_db"]), abs=4)


def test_mix_says_which_split_is_empty(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"path,kind,split\n{BUNDLED / 'demo' / 'clean.flac'},speech,train\n")
    settings = (f"data.speech=[{manifest}]", f"data.noise=[{manifest}]", "data.rir=[]")
    words = [word for setting in settings for word in ("--set", setting)]
    done = run_command("data", "mix", "cleanunet-small", "-o", tmp_path / "set", *words)
    assert done.exit_code == 2
    assert "data.speech: the 'test' split is empty (rows have: train)" in done.stderr
    assert not (tmp_path / "set").exists()


def test_a_set_is_not_mixed_into_another(tmp_path: Path) -> None:
    (tmp_path / "noisy").mkdir()
    done = run_command("data", "mix", "denoise", "-o", tmp_path)
    assert done.exit_code == 2
    assert "is not empty: choose another folder" in " ".join(done.stderr.split())


@pytest.mark.parametrize("words", [("scan", "."), ("mix", "denoise")])
def test_results_are_not_written_to_a_file_called_as_standard_output(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_command("data", *words, "-o", "-")
    assert done.exit_code == 2
    assert "standard output does not take this: give -o and a name" in done.stderr
    assert not list(tmp_path.iterdir())
