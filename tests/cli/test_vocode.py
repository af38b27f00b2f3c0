"""`audiotool vocode` on mel files, recordings and pipes: waveforms of mels, mels of recordings, F0."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import write_speech
from kit.command import one_line, run_command
from kit.vocoders import MEL, NSF, VOCOS, make_mel, run, run_well, save_vocoder, spoken
from safetensors import safe_open
from safetensors.numpy import save_file
from typer.testing import Result

import audiotool
from audiotool import checkpoint
from audiotool.dsp.mel import mel_config
from audiotool.models.base import Model


@pytest.mark.parametrize("form", ["npy", "batch", "transposed", "half", "npz", "packed", "safetensors"])
def test_mel_files(vocode: Callable[..., Result], vocos: Model, form: str) -> None:
    mel = make_mel()
    name, tolerance = "mel.npy", 1e-5
    if form == "npz":
        name = "mel.npz"
        np.savez(name, mel=mel, other=np.zeros(3))
    elif form == "packed":
        name = "mel.npz"
        np.savez_compressed(name, whatever=mel)
    elif form == "safetensors":
        name = "mel.safetensors"
        save_file({"mel": mel}, name)
    else:
        np.save(
            name, {"batch": mel[None], "transposed": mel.T, "half": mel.astype(np.float16)}.get(form, mel)
        )
    tolerance = 0.05 if form == "half" else tolerance
    result = vocode(name, "-o", "out.wav", "--subtype", "FLOAT")
    assert result.exit_code == 0, result.output
    waveform, rate = audiotool.read("out.wav")
    expected = spoken(vocos, mel)
    assert rate == 8000
    assert waveform.shape == (1, mel.shape[1] * 32)
    assert np.abs(waveform[0] - expected).max() <= tolerance * np.abs(expected).max()


def test_a_mel_as_wide_as_long_is_not_turned(vocode: Callable[..., Result], vocos: Model) -> None:
    mel = make_mel()[:, 20:26]
    np.save("mel.npy", mel)
    assert vocode("mel.npy", "-o", "out.wav", "--subtype", "FLOAT").exit_code == 0
    np.testing.assert_allclose(audiotool.read("out.wav")[0][0], spoken(vocos, mel), atol=1e-5)


def test_folder_of_mels_and_recordings(vocode: Callable[..., Result]) -> None:
    Path("in/sub").mkdir(parents=True)
    np.save("in/a.npy", make_mel())
    save_file({"mel": make_mel()}, "in/sub/b.safetensors")
    write_speech(Path("in/c.flac"), 0.3, 16000)
    np.save("in/wrong.npy", np.zeros((5, 9), np.float32))
    result = vocode("in", "-o", "out", "--report", "r.json")
    assert result.exit_code == 1
    assert "1 of 4 files failed" in result.stderr
    found = sorted(p.relative_to("out").as_posix() for p in Path("out").rglob("*") if p.is_file())
    assert found == ["a.wav", "c.flac", "sub/b.wav"]
    assert soundfile.info("out/c.flac").samplerate == 16000
    assert len(json.loads(Path("r.json").read_text())["files"]) == 4


def test_copy_synthesis_keeps_rate_channels_and_length(vocode: Callable[..., Result]) -> None:
    write_speech(Path("in.wav"), 1.2, 16000, 2)
    result = vocode(
        "in.wav", "-o", "out.wav", "--reference", "in.wav", "--report", "r.json", "--chunk", "0.1"
    )
    assert result.exit_code == 0, result.output
    before, after = soundfile.info("in.wav"), soundfile.info("out.wav")
    assert (before.frames, before.channels, before.samplerate, before.subtype) == (
        *(after.frames, after.channels, after.samplerate, after.subtype),
    )
    [row] = json.loads(Path("r.json").read_text())["files"]
    assert row["mel_l1"] > 0
    x, rate = audiotool.read("in.wav")
    expected = audiotool.load("vocos.safetensors", "cpu")(x, rate)
    np.testing.assert_allclose(audiotool.read("out.wav")[0], expected, atol=1e-4)


def test_through_pipes(vocode: Callable[..., Result], vocos: Model) -> None:
    data = write_speech(Path("in.wav"), 0.4, 8000).read_bytes()
    words = ["vocode", "--checkpoint", "vocos.safetensors", "-", "-o", "piped.wav", "-q"]
    assert run_command(*words, input=data).exit_code == 0
    assert vocode("in.wav", "-o", "out.wav", "-q").exit_code == 0
    # A pipe comes in other blocks than a file; sums of other lengths may round a sample the other way.
    piped, whole = (soundfile.read(name, dtype="int16")[0].astype(int) for name in ("piped.wav", "out.wav"))
    assert piped.shape == whole.shape
    assert np.abs(piped - whole).max() <= 1
    assert (piped != whole).mean() < 0.01
    np.save("mel.npy", make_mel())
    Path("from_mel.wav").write_bytes(vocode("mel.npy", "-o", "-", "-q").stdout_bytes)
    assert soundfile.info("from_mel.wav").frames == make_mel().shape[1] * 32


def test_nothing_of_the_upper_band_passes_by(vocode: Callable[..., Result]) -> None:
    rng = np.random.default_rng(0)
    audiotool.write("in.wav", rng.uniform(-0.3, 0.3, 48000).astype(np.float32), 48000, "FLOAT")
    assert vocode("in.wav", "-o", "out.wav").exit_code == 0
    spectrum = np.abs(np.fft.rfft(audiotool.read("out.wav")[0][0]))
    assert spectrum[4500:].max() < 1e-3 * spectrum[:3500].max()


def test_scores_of_a_mel_file(vocode: Callable[..., Result]) -> None:
    write_speech(Path("clean.wav"), 0.6, 8000)
    np.save("mel.npy", make_mel(seconds=0.6))
    result = vocode("mel.npy", "-o", "out.wav", "--reference", "clean.wav", "--report", "r.json")
    assert result.exit_code == 0, result.output
    [row] = json.loads(Path("r.json").read_text())["files"]
    assert row["mel_l1"] > 0
    assert "mel_l1_noisy" not in row


# Recordings to mels


@pytest.mark.parametrize("ending", ["npy", "npz", "safetensors"])
def test_mel_only(vocode: Callable[..., Result], ending: str) -> None:
    write_speech(Path("in.wav"), 0.7, 8000, subtype="FLOAT")
    name = f"mel.{ending}"
    assert vocode("--mel-only", "in.wav", "-o", name).exit_code == 0
    if ending == "npy":
        found = np.load(name)
    elif ending == "npz":
        found = np.load(name)["mel"]
    else:
        with safe_open(name, framework="np") as file:
            found = file.get_tensor("mel")
            assert mel_config(json.loads(file.metadata()["mel"])) == mel_config(MEL)
    expected = make_mel(seconds=0.7)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert vocode(name, "-o", "out.wav").exit_code == 0
    assert sorted(p for p in os.listdir() if p.startswith(".")) == []


def test_the_report_of_a_mel_names_what_defines_it(vocode: Callable[..., Result]) -> None:
    write_speech(Path("in.wav"), 0.5, 8000)
    assert vocode("--mel-only", "in.wav", "-o", "a.npy", "--report", "a.json").exit_code == 0
    made = json.loads(Path("a.json").read_text())["run"]
    assert made["model"] == "vocos.safetensors"
    assert made["checkpoint_sha256"] == checkpoint.sha256(Path("vocos.safetensors"))
    assert made["settings"].keys() == {"mel"}
    run_well("--mel-only", "in.wav", "-o", "b.npy", "--report", "b.json", "--preset", "hifigan-22k")
    named = json.loads(Path("b.json").read_text())["run"]
    assert "model" not in named
    assert named["settings"]["mel"]["n_mels"] == 80


@pytest.mark.parametrize("length", [255, 256])
def test_the_shortest_recording_that_has_a_mel(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_speech(Path("in.wav"), length / 24000, 24000)
    done = run("--mel-only", "in.wav", "-o", "mel.npy", "--preset", "bigvgan-v2-24k-100")
    if length == 256:
        assert (done.exit_code, np.load("mel.npy").shape) == (0, (100, 1))
    else:
        assert "too short for a frame of the mel: 256 samples at 24000 Hz, 0.011 s" in done.stderr


def test_mel_only_with_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_speech(Path("in/a.wav"), 0.4, 22050)
    write_speech(Path("in/b.wav"), 0.4, 44100, 2)
    result = run_well(
        *("--mel-only", "in", "-o", "out", "--preset", "hifigan-22k", "--format", "safetensors")
    )
    assert "2 channels were averaged" in result.stderr
    for name in ("a", "b"):
        with safe_open(f"out/{name}.safetensors", framework="np") as file:
            assert file.get_tensor("mel").shape == (80, 8820 // 256)
    save_vocoder(tmp_path / "vocos.safetensors", "vocos", {**VOCOS, "mel": MEL})
    wrong = run("out/a.safetensors", "-o", "x.wav", "--checkpoint", "vocos.safetensors")
    assert wrong.exit_code == 1
    assert "n_mels 80 against 6" in one_line(wrong)


@pytest.mark.parametrize("ending", ["npy", "npz", "safetensors"])
def test_mels_that_are_there_and_of_another_definition_are_named(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_speech(Path("in.wav"), 0.4, 22050)
    words = ("--mel-only", "in.wav", "-o", f"a.{ending}")
    run_well(*words, "--preset", "hifigan-22k")
    before = Path(f"a.{ending}").read_bytes()
    skipped = ("--skip-existing", "--report", "r.json", "--preset")
    wrong = f"a.{ending} is another mel than what is asked for: "
    assert "another mel" not in run_well(*words, *skipped, "hifigan-22k").stderr
    other = run_well(*words, *skipped, "bigvgan-v2-24k-100")
    [line] = [line for line in other.stderr.splitlines() if wrong in line]
    assert "n_mels 80 against 100" in line
    [row] = json.loads(Path("r.json").read_text())["files"]
    assert row["notes"] == [line.split(": ", 2)[2]]
    run_well(*words, *skipped, "hifigan-22k")
    assert json.loads(Path("r.json").read_text())["files"][0]["notes"] == []
    # Of as many bands, the metadata tell them apart.
    same_bands = run_well(*words, *skipped, "hifigan-22k-full").stderr
    assert (f"{wrong}fmax 8000.0 against 11025.0" in same_bands) == (ending == "safetensors")
    assert Path(f"a.{ending}").read_bytes() == before


# NSF: F0


def test_f0_of_mel_files(vocos: Model) -> None:
    model = save_vocoder(Path("nsf.safetensors"), "nsf", NSF)
    mel = make_mel(NSF["mel"], 0.2)
    f0 = np.where(np.arange(mel.shape[1]) % 50 < 30, 150.0, 0.0).astype(np.float32)
    features = np.concatenate((mel, f0[None]))
    np.save("mel.npy", mel)
    np.save("f0.npy", f0)
    np.save("both.npy", features)
    arguments = ("--checkpoint", "nsf.safetensors", "--subtype", "FLOAT", "--chunk", "0.05")
    run_well("mel.npy", "-o", "a.wav", "--f0", "f0.npy", *arguments)
    run_well("both.npy", "-o", "b.wav", *arguments)
    expected = spoken(model, features)
    for name in ("a.wav", "b.wav"):
        np.testing.assert_allclose(audiotool.read(name)[0][0], expected, atol=1e-5)
    Path("mels").mkdir()
    Path("f0").mkdir()
    np.save("mels/x.npy", mel)
    np.save("f0/x.npy", f0)
    run_well("mels", "-o", "out", "--f0", "f0", *arguments)
    np.testing.assert_allclose(audiotool.read("out/x.wav")[0][0], expected, atol=1e-5)

    np.save("short.npy", f0[:-3])
    np.save("negative.npy", -f0)
    np.save("square.npy", np.zeros((2, 9), np.float32))
    for name, message in (
        ("short.npy", f"F0 for {len(f0) - 3} frames, the mel has {len(f0)}"),
        ("negative.npy", "negative"),
        ("square.npy", "F0 is (frames,)"),
    ):
        refused = run("mel.npy", "-o", "c.wav", "--f0", name, *arguments)
        assert refused.exit_code == 1
        assert message in one_line(refused)
    assert "give --f0 FILE.npy" in one_line(run("mel.npy", "-o", "c.wav", *arguments))
    write_speech(Path("in.wav"), 0.2)
    run_well("in.wav", "-o", "d.wav", *arguments)
    assert "--f0 belongs to mel files" in one_line(run("in.wav", "-o", "c.wav", "--f0", "f0.npy", *arguments))
    several = run("mel.npy", "in.wav", "-o", "outs", "--f0", "f0.npy", *arguments)
    assert (several.exit_code, "need a folder of F0" in one_line(several)) == (2, True)
    assert not Path("c.wav").exists()
