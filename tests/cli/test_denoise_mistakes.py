"""`audiotool denoise`: inputs that are no audio, mistakes on the command line, other checkpoints."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like, write_speech
from kit.command import one_line, run_command
from typer.testing import Result

from audiotool.cli.tasks import requested_checkpoint
from audiotool.errors import CheckpointError
from audiotool.tasks.options import TaskOptions

BAD_INPUTS = {
    "empty": "is empty",
    "header only": "holds no audio",
    "not audio": "cannot be read as audio",
    "no channels": "cannot be read as audio",
    "NaN": "nan at sample 77",
    "infinity": "inf at sample 77",
    "half a flac": "is damaged after",
}


@pytest.mark.parametrize("kind", BAD_INPUTS)
def test_bad_inputs_fail_in_one_line_and_lose_nothing(denoise: Callable[..., Result], kind: str) -> None:
    whole = write_speech(Path("whole.wav")).read_bytes()
    x = speech_like(0.5, 16000).T.copy()
    x[77] = np.inf if kind == "infinity" else np.nan
    if kind in ("NaN", "infinity"):
        soundfile.write("bad.wav", x, 16000, subtype="FLOAT")
    flac = write_speech(Path("whole.flac"), 2.0).read_bytes()
    contents = {
        "empty": b"",
        "header only": whole[:44],
        "not audio": b"just some text " * 100,
        "no channels": whole[:22] + b"\0\0" + whole[24:],
        "half a flac": flac[: len(flac) // 2],
    }
    if kind in contents:
        Path("bad.wav").write_bytes(contents[kind])
    before = write_speech(Path("out/out.wav")).read_bytes()
    result = denoise("bad.wav", "-o", "out/out.wav", "--overwrite")
    assert result.exit_code == 1
    assert BAD_INPUTS[kind] in one_line(result)
    assert Path("out/out.wav").read_bytes() == before
    assert os.listdir("out") == ["out.wav"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to process"),
        (["missing.wav", "-o", "out.wav"], "no such input: missing.wav"),
        (["in.wav", "-o", "in.wav", "--overwrite"], "replace its own input"),
        (["in.wav", "-o", "out.wav", "--overwrite", "--skip-existing"], "exclude each other"),
        (["in.wav", "-o", "out.wav", "--model", "x"], "exclude each other"),
        (["in.wav", "-o", "out.wav", "--report", "r.txt"], "a report ends in"),
        (["in.wav", "-o", "in.wav/out.wav"], "is not a folder"),
        (["in.wav", "-o", "o/", "--suffix", "/x"], "--suffix goes into a file's name"),
        (["in.wav", "-o", "o/", "--format", "raw"], "RAW has no header"),
    ],
)
def test_mistakes_on_the_command_line(
    denoise: Callable[..., Result], arguments: list[str], message: str
) -> None:
    write_speech(Path("in.wav"))
    result = denoise(*arguments)
    assert message in one_line(result)
    assert result.exit_code == 2
    assert os.listdir() == ["in.wav"]


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e300", "-1"])
def test_chunks_have_a_length(denoise: Callable[..., Result], seconds: str) -> None:
    write_speech(Path("in.wav"))
    result = denoise("in.wav", "-o", "out.wav", "--chunk", seconds)
    assert result.exit_code == 2
    assert "--chunk" in result.stderr
    assert os.listdir() == ["in.wav"]


def test_checkpoints_by_name_path_and_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_speech(Path("in.wav"))

    def run(*arguments: str) -> Result:
        return run_command("denoise", "in.wav", "-o", "out.wav", "--device", "cpu", *arguments)

    missing = run("--checkpoint", "no.safetensors")
    assert (missing.exit_code, "no such checkpoint" in one_line(missing)) == (2, True)
    assert "--model denoise-16k is the one of that name" in one_line(run("--checkpoint", "denoise-16k"))
    assert "no checkpoint 'no-such-name'" in one_line(run("--model", "no-such-name"))
    Path("bad.safetensors").write_bytes(b"nothing")
    bad = run("--checkpoint", "bad.safetensors")
    assert (bad.exit_code, "not a safetensors file" in one_line(bad)) == (2, True)
    other = run("--model", "two-speakers-16k")
    message = "two-speakers-16k was made to separate, not to denoise: use `audiotool separate`"
    assert (other.exit_code, one_line(other)) == (2, f"audiotool: error: {message}\n")
    assert "no recipe 'no-such-recipe'" in one_line(run("--recipe", "no-such-recipe"))
    assert not Path("out.wav").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc takes no files")
def test_output_folder_that_takes_no_files(denoise: Callable[..., Result]) -> None:
    write_speech(Path("in.wav"))
    result = denoise("in.wav", "-o", "/proc/audiotool/out.wav")
    assert result.exit_code in (1, 2)
    assert "cannot write /proc/audiotool/out.wav" in one_line(result)


def test_a_recipe_means_its_run_here_or_a_bundled_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # The first is a recipe for the same network, the second the one that made the weights.
    for name, made in (
        ("denoise", "denoise-16k"),
        ("denoise-broad", "denoise-16k"),
        ("denoise-48k", "denoise-48k"),
    ):
        assert requested_checkpoint(TaskOptions(recipe=name)) == made
    with pytest.raises(CheckpointError, match="train it with `audiotool train gtcrn`"):
        requested_checkpoint(TaskOptions(recipe="gtcrn"))
    Path("runs/denoise/states").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="has a run in runs/denoise, which has no best checkpoint yet"):
        requested_checkpoint(TaskOptions(recipe="denoise"))
    trained = Path("runs/denoise/denoise-best.safetensors")
    trained.touch()
    assert requested_checkpoint(TaskOptions(recipe="denoise")) == str(trained)
