"""`audiotool vocode`: mels that do not fit or are damaged, and mistakes on the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kit.audio import write_speech
from kit.command import one_line, run_command
from kit.vocoders import VOCOS, make_mel, run, run_well, save_vocoder
from safetensors.numpy import save_file
from typer.testing import Result

from audiotool import named_checkpoints
from audiotool.models.base import Model


def bad_files() -> dict[str, tuple[np.ndarray, str]]:
    mel = make_mel()
    holed, endless = mel.copy(), mel.copy()
    holed[2, 7], endless[0, 0] = np.nan, np.inf
    return {
        "bands of no bundled model": (
            np.full((128, 9), -3.0, np.float32),
            "n_mels 128 against 6 of the checkpoint; a checkpoint with preset bigvgan",
        ),
        "bands": (
            np.full((100, 9), -3.0, np.float32),
            "n_mels 100 against 6 of the checkpoint; use the model harmonic-vocoder-24k",
        ),
        "range": (mel + 40, "do not fit this checkpoint's mel"),
        "nan": (holed, "nan in band 2 of frame 7"),
        "infinity": (endless, "inf in band 0 of frame 0"),
        "axes": (np.zeros((2, 6, 9), np.float32), "(1, n_mels, frames), got (2, 6, 9)"),
        "line": (np.zeros(6, np.float32), "got (6,)"),
        "integers": (np.zeros((6, 9), np.int16), "int16, not floating point"),
        "empty": (np.zeros((6, 0), np.float32), "holds no frames"),
    }


@pytest.mark.parametrize("case", bad_files())
def test_mels_that_do_not_fit(vocode: Callable[..., Result], case: str) -> None:
    values, message = bad_files()[case]
    np.save("mel.npy", values)
    result = vocode("mel.npy", "-o", "out.wav")
    assert result.exit_code == 1
    assert message in one_line(result)
    assert sorted(os.listdir()) == ["mel.npy", "vocos.safetensors"]


@pytest.mark.parametrize("ending", ["npy", "npz", "safetensors"])
def test_damaged_files(vocode: Callable[..., Result], ending: str) -> None:
    for content in (b"", b"Dear friend, ..."):
        Path(f"mel.{ending}").write_bytes(content)
        result = vocode(f"mel.{ending}", "-o", "out.wav")
        assert result.exit_code == 1
        assert f"mel.{ending} cannot be read as a mel" in one_line(result)


def test_other_contents(vocode: Callable[..., Result]) -> None:
    np.savez("two.npz", a=make_mel(), b=make_mel())
    assert "holds 2 arrays (a, b)" in one_line(vocode("two.npz", "-o", "out.wav"))
    save_file({"mel": np.zeros((6, 9), np.int32)}, "integers.safetensors")
    assert "I32, not floating point" in one_line(vocode("integers.safetensors", "-o", "out.wav"))
    save_file({"mel": make_mel()}, "odd.safetensors", metadata={"mel": '{"bands": 3}'})
    assert "do not define a mel" in one_line(vocode("odd.safetensors", "-o", "out.wav"))
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "cannot be read as a mel" in one_line(vocode("objects.npy", "-o", "out.wav"))


def test_a_differing_definition_names_the_preset_that_fits(vocos: Model) -> None:
    save_vocoder(Path("preset.safetensors"), "vocos", {**VOCOS, "mel": "vocos-24k", "n_fft": 1024})
    write_speech(Path("in.wav"), 0.3)
    run_well("--mel-only", "in.wav", "-o", "mel.safetensors", "--preset", "parallel-wavegan-24k")
    result = run("mel.safetensors", "-o", "out.wav", "--checkpoint", "preset.safetensors")
    message = one_line(result)
    for part in ("n_mels 80 against 100", "hop_length 300 against 256", "preset vocos-24k would fit"):
        assert part in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty", "-o", "out"], "no audio or mel files in empty"),
        (["mel.npy", "-o", "out.npy"], "'.npy' names no audio format"),
        (["mel.npy", "-o", "out.wav", "--preset", "tacotron2"], "--preset belongs to --mel-only"),
        (["mel.npy", "-o", "out.wav", "--f0", "no.npy"], "no such F0: no.npy"),
        (["--mel-only", "in.wav", "-o", "out.wav"], "a mel is written to .npy"),
        (["--mel-only", "in.wav", "-o", "-"], "standard output takes WAV"),
        (["--mel-only", "in.wav", "-o", "m.npy", "--f0", "mel.npy"], "--mel-only and --f0"),
        (["--mel-only", "in.wav", "-o", "m.npy", "--subtype", "FLOAT"], "--mel-only and --subtype"),
        (["--mel-only", "in.wav", "-o", "m/", "--format", "flac"], "one of npy, npz, safetensors"),
        (["--mel-only", "in.wav", "-o", "m.npy", "--preset", "tacotron2"], "exclude each other"),
        (["--mel-only", "empty", "-o", "out"], "no audio files in empty"),
        (
            ["--mel-only", "in.wav", "mel.npy", "-o", "out"],
            "mel.npy is a mel already: leave out --mel-only to vocode it",
        ),
    ],
)
def test_mistakes_on_the_command_line(
    vocode: Callable[..., Result], arguments: list[str], message: str
) -> None:
    Path("empty").mkdir()
    np.save("mel.npy", make_mel())
    write_speech(Path("in.wav"), 0.2)
    before = sorted(os.listdir())
    result = vocode(*arguments)
    assert message in one_line(result)
    assert result.exit_code == 2
    assert sorted(os.listdir()) == before


def test_without_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(named_checkpoints, "bundled_root", lambda kind: tmp_path / kind)
    np.save("mel.npy", make_mel())
    write_speech(Path("in.wav"), 0.2)
    for arguments in (("mel.npy", "-o", "out.wav"), ("in.wav", "-o", "out.wav")):
        result = run(*arguments)
        assert result.exit_code == 1
        assert "give --checkpoint" in one_line(result)
    assert "or --preset NAME" in one_line(run("--mel-only", "in.wav", "-o", "mel2.npy"))
    unknown = run("--mel-only", "in.wav", "-o", "mel2.npy", "--preset", "hifigan-22")
    assert (unknown.exit_code, "did you mean 'hifigan-22k'" in one_line(unknown)) == (2, True)


def test_a_denoiser_takes_no_mel(tiny_checkpoint: Path, vocos: Model) -> None:
    np.save("mel.npy", make_mel())
    result = run_command("denoise", "mel.npy", "-o", "out.wav", "--checkpoint", tiny_checkpoint)
    assert result.exit_code == 1
    assert "takes a waveform, not a mel" in one_line(result)
    other = run("mel.npy", "-o", "out.wav", "--checkpoint", tiny_checkpoint)
    assert "was made to denoise" in one_line(other)
