"""`audiotool separate`: one file a stem, scored in the best order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from kit.audio import write_speech
from kit.checkpoints import save_model
from kit.command import run_command
from typer.testing import Result

import audiotool
from audiotool.models.conv_tasnet import ConvTasNet, ConvTasNetConfig
from audiotool.models.hybrid_demucs import HybridDemucs, HybridDemucsConfig


@pytest.fixture
def separate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command in an empty folder that has an untrained separator of two speakers at 8 kHz."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    small = ConvTasNetConfig(
        filters=16, bottleneck_channels=8, hidden_channels=12, skip_channels=8, blocks=2, stacks=1
    )
    save_model(Path("two.safetensors"), ConvTasNet(small), "separate")

    def call(*arguments: str | Path, stdin: bytes | None = None) -> Result:
        return run_command("separate", "--device", "cpu", *arguments, input=stdin)

    return call


def found(folder: str) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob("*.*"))


def test_a_file_and_a_folder(separate: Callable[..., Result]) -> None:
    write_speech(Path("in/mix.wav"), 0.3, 8000)
    write_speech(Path("in/b/duet.flac"), 0.3, 44100, 2)
    assert separate("in/mix.wav", "-o", "one", "--checkpoint", "two.safetensors").exit_code == 0
    assert found("one") == ["mix.speaker1.wav", "mix.speaker2.wav"]
    assert separate("in", "-o", "out/", "--checkpoint", "two.safetensors").exit_code == 0
    assert found("out") == [
        *("b/duet.speaker1.flac", "b/duet.speaker2.flac", "mix.speaker1.wav", "mix.speaker2.wav"),
    ]
    info = soundfile.info("out/b/duet.speaker2.flac")
    assert (info.samplerate, info.channels, info.frames) == (44100, 2, 13230)


def test_scores_are_those_of_the_best_order(separate: Callable[..., Result]) -> None:
    write_speech(Path("mix.wav"), 1.0, 8000, subtype="FLOAT")
    assert separate("mix.wav", "-o", "out", "--checkpoint", "two.safetensors").exit_code == 0
    Path("refs").mkdir()
    for speaker, other in ((1, 2), (2, 1)):
        x, rate = audiotool.read(f"out/mix.speaker{other}.wav")
        noise = 1e-4 * np.random.default_rng(speaker).standard_normal(x.shape).astype(np.float32)
        audiotool.write(f"refs/speaker{speaker}.wav", x + noise, rate, "FLOAT")
    result = separate(
        *("mix.wav", "-o", "out", "--checkpoint", "two.safetensors", "--overwrite"),
        *("--reference", "refs", "--report", "r.json"),
    )
    assert result.exit_code == 0, result.output
    rows = json.loads(Path("r.json").read_text())["files"]
    assert [row["file"] for row in rows] == ["mix.wav: mix.speaker2.wav", "mix.wav: mix.speaker1.wav"]
    assert all(row["si_sdr"] > 5 and row["status"] == "done" for row in rows)
    assert any("stems reordered" in note for note in rows[0]["notes"])
    assert [(row["mixture"], row["stem"]) for row in rows] == [("mix", "speaker1"), ("mix", "speaker2")]
    Path("voices").mkdir()
    for n in (1, 2):
        Path(f"refs/speaker{n}.wav").rename(f"voices/mix.speaker{n}.wav")
    places = ("--task", "separate", "--reference", "voices", "--estimate", "out", "--metrics", "si_sdr")
    again = run_command("evaluate", *places, "--against", "r.json", "--json")
    assert again.exit_code == 0, again.output
    [same] = json.loads(again.stdout)["comparison"]["metrics"].values()
    assert (same["n"], same["wins"], same["losses"]) == (2, 0, 0)
    assert {"sdr_noisy", "pesq", "stoi_improvement"} <= rows[0].keys()
    peaks = [float(np.abs(audiotool.read(f"out/mix.speaker{n}.wav")[0]).max()) for n in (2, 1)]
    assert [row["peak"] for row in rows] == pytest.approx(peaks, abs=1e-4)
    assert peaks[0] != pytest.approx(peaks[1], abs=1e-3)


def test_speakers_and_background_add_up_to_the_input(separate: Callable[..., Result]) -> None:
    write_speech(Path("in.wav"), 0.7, 44100, 2, subtype="FLOAT")
    asked = ("--checkpoint", "two.safetensors", "--stems", "speaker1,speaker2,background")
    result = separate("in.wav", "-o", "out", *asked)
    assert result.exit_code == 0, result.output
    assert found("out") == ["in.background.wav", "in.speaker1.wav", "in.speaker2.wav"]
    parts = [audiotool.read(path)[0] for path in sorted(Path("out").iterdir())]
    largest = max(np.abs(part).max() for part in parts)
    x, _ = audiotool.read("in.wav")
    np.testing.assert_allclose(sum(parts), x, rtol=0, atol=4e-7 * largest + 1e-7)
    # Scored against themselves under each other's names: speakers in any order, the background in its place.
    Path("refs").mkdir()
    for name, estimate in (("speaker1", "speaker2"), ("speaker2", "speaker1"), ("background", "background")):
        Path(f"out/in.{estimate}.wav").rename(f"refs/{name}.wav")
    scored = separate("in.wav", "-o", "out", *asked, "--reference", "refs", "--report", "r.json")
    assert scored.exit_code == 0, scored.output
    rows = json.loads(Path("r.json").read_text())["files"]
    assert [row["file"].split(".")[2] for row in rows] == ["speaker2", "speaker1", "background"]
    assert all(row["si_sdr"] > 60 for row in rows)
    # The background is the rest: speakers are scored without a reference for it.
    Path("refs/background.wav").unlink()
    scored = separate(
        "in.wav", "-o", "out", *asked, "--reference", "refs", "--report", "r.json", "--overwrite"
    )
    assert scored.exit_code == 0, scored.output
    rows = json.loads(Path("r.json").read_text())["files"]
    assert [row["stem"] for row in rows] == ["speaker1", "speaker2"]
    assert all(row["si_sdr"] > 60 for row in rows)
    assert all("the background has no reference, and is not scored" in row["notes"] for row in rows)
    Path("refs/speaker2.wav").unlink()
    refused = separate("in.wav", "-o", "out", *asked, "--reference", "refs", "--overwrite")
    assert (refused.exit_code, "no reference for its speaker2" in refused.stderr) == (2, True)


def test_references_are_found_by_their_names(separate: Callable[..., Result]) -> None:
    arguments = ("in", "-o", "out", "--checkpoint", "two.safetensors", "--reference", "refs", "--overwrite")
    write_speech(Path("in/b/mix.wav"), 0.5, 8000)
    missing = separate(*arguments)
    assert missing.exit_code == 2
    assert "several stems need a folder of references" in missing.stderr
    write_speech(Path("refs/b/mix.speaker1.flac"), 0.5, 8000)
    half = separate(*arguments)
    assert half.exit_code == 2
    assert (
        "mix.wav has no reference for its speaker2: there is none of refs/b/mix.speaker2.wav" in half.stderr
    )
    write_speech(Path("refs/speaker2/b/mix.wav"), 0.5, 8000)
    result = separate(*arguments)
    assert result.exit_code == 0, result.output
    assert "si_sdr" in result.stdout


def test_a_pipe_is_separated_into_a_folder(separate: Callable[..., Result]) -> None:
    data = write_speech(Path("mix.wav"), 0.3, 8000).read_bytes()
    for folder in ("new", "there"):
        Path("there").mkdir(exist_ok=True)
        result = separate("-", "-o", folder, "--checkpoint", "two.safetensors", stdin=data)
        assert result.exit_code == 0, result.output
        assert found(folder) == ["stdin.speaker1.wav", "stdin.speaker2.wav"]


def test_stems_are_named_in_any_order_and_limited_ones_are_reported(
    separate: Callable[..., Result], tiny_checkpoint: Path
) -> None:
    soundfile.write("loud.wav", np.sign(np.sin(np.arange(16000) / 20)), 16000, subtype="PCM_16")
    options = ("--checkpoint", tiny_checkpoint, "--stems", "background,speech", "--report", "r.json")
    result = separate("loud.wav", "-o", "out", *options)
    assert result.exit_code == 0, result.output
    notes = json.loads(Path("r.json").read_text())["files"][0]["notes"]
    assert any("adds up to the input" in note for note in notes) == ("limited" in str(notes))
    wrong = separate("loud.wav", "-o", "out2", "--checkpoint", "two.safetensors", "--stems", "speech")
    assert "--stems speech,background" in " ".join(wrong.stderr.split())


def test_a_denoiser_gives_speech_and_background_that_sum_to_the_input(
    separate: Callable[..., Result], tiny_checkpoint: Path
) -> None:
    write_speech(Path("in.wav"), 0.7, 44100, 2, subtype="FLOAT")
    result = separate("in.wav", "-o", "out", "--checkpoint", tiny_checkpoint)
    assert result.exit_code == 0, result.output
    assert found("out") == ["in.background.wav", "in.speech.wav"]
    parts = [audiotool.read(f"out/in.{stem}.wav")[0] for stem in ("speech", "background")]
    x, _ = audiotool.read("in.wav")
    np.testing.assert_allclose(parts[0] + parts[1], x, rtol=0, atol=2e-7 * np.abs(parts[0]).max() + 1e-7)
    assert np.abs(parts[1]).max() > 0.01
    again = ("in.wav", "-o", "out", "--checkpoint", tiny_checkpoint, "--overwrite")
    assert separate(*again, "--stems", "speech,background").exit_code == 0
    assert separate(*again, "--reference", "out2").exit_code == 2
    Path("out").rename("refs")
    scored = separate(
        "in.wav", "-o", "o", "--checkpoint", tiny_checkpoint, "--reference", "refs", "--report", "r.json"
    )
    rows = json.loads(Path("r.json").read_text())["files"]
    assert scored.exit_code == 0, scored.output
    assert [row["file"] for row in rows] == ["in.wav: in.speech.wav", "in.wav: in.background.wav"]
    assert all(row["si_sdr"] > 40 for row in rows)


def test_stereo_stems_by_overlap_add(separate: Callable[..., Result]) -> None:
    torch.manual_seed(0)
    config = HybridDemucsConfig(
        sources=("drums", "vocals"),
        sample_rate=8000,
        channels=8,
        n_fft=1024,
        depth=5,
        dconv_attn=9,
        dconv_lstm=9,
    )
    save_model(Path("music.safetensors"), HybridDemucs(config), "separate")
    write_speech(Path("song.wav"), 2.3, 8000, 2)
    result = separate("song.wav", "-o", "out", "--checkpoint", "music.safetensors", "--chunk", 1)
    assert result.exit_code == 0, result.output
    assert found("out") == ["song.drums.wav", "song.vocals.wav"]
    info = soundfile.info("out/song.drums.wav")
    assert (info.samplerate, info.channels, info.frames) == (8000, 2, 18400)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 1, "no bundled checkpoint serves the task 'separate': give --checkpoint PATH"),
        (["--stems", "speech,background"], 1, "no bundled checkpoint serves the task 'denoise'"),
        (
            ["--checkpoint", "two.safetensors", "--stems", "a,b"],
            2,
            "separates into speaker1,speaker2, not into a,b",
        ),
        (
            ["--checkpoint", "two.safetensors", "--stems", "speaker1,speaker1,speaker2"],
            2,
            "separates into speaker1,speaker2, not into speaker1,speaker1,speaker2",
        ),
        (
            ["--checkpoint", "two.safetensors", "--stems", "speaker1,background"],
            2,
            "separates into speaker1,speaker2,background, not into speaker1,background",
        ),
        (["--checkpoint", "none.safetensors"], 2, "no such checkpoint"),
        (["--model", "none"], 2, "no checkpoint 'none'"),
    ],
)
def test_mistakes(
    separate: Callable[..., Result],
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("audiotool.named_checkpoints.bundled_root", lambda kind: tmp_path / kind)
    write_speech(Path("mix.wav"), 0.1, 8000)
    result = separate("mix.wav", "-o", "out", *arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (code, 1)
    assert message in result.stderr
    assert not Path("out").exists()


def test_standard_output_holds_no_stems(separate: Callable[..., Result]) -> None:
    write_speech(Path("mix.wav"), 0.1, 8000)
    result = separate("mix.wav", "-o", "-", "--checkpoint", "two.safetensors")
    assert result.exit_code == 2
    assert "takes one of 2 outputs" in result.stderr
