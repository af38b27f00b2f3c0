"""`audiotool denoise` on files, folders and pipes of every kind; dry runs."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like, write_speech
from kit.command import one_line
from typer.testing import Result

import audiotool


def test_a_dry_run_says_what_is_read_skipped_and_written_and_does_nothing(
    denoise: Callable[..., Result],
) -> None:
    for name in ("in/a.wav", "in/b/c.flac"):
        write_speech(Path(name), 0.2)
    Path("in/notes.txt").write_text("not audio")
    before = sorted(Path().rglob("*"))
    words = ("in", "-o", "out", "--residual", "rest", "--report", "r.json", "--dry-run")
    result = denoise(*words)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "in/a.wav -> out/a.wav and rest/a.wav",
        "in/b/c.flac -> out/b/c.flac and rest/b/c.flac",
    ]
    assert "a dry run: 2 of 2 files would be processed" in result.stderr
    assert sorted(Path().rglob("*")) == before
    for folder in ("out", "rest"):
        write_speech(Path(folder) / "a.wav", 0.2)
    refused = denoise(*words)
    assert refused.exit_code == 2
    assert "--skip-existing" in one_line(refused)
    resumed = denoise(*words, "--skip-existing")
    assert resumed.stdout.splitlines() == [
        "in/a.wav is skipped: out/a.wav and rest/a.wav there already",
        "in/b/c.flac -> out/b/c.flac and rest/b/c.flac",
    ]
    assert "1 of 2 files would be processed, 1 skipped" in resumed.stderr
    piped = denoise("-", "-o", "-", "--dry-run", "--quiet", stdin=b"")
    assert (piped.exit_code, piped.output) == (0, "standard input -> standard output\n")


def test_a_dry_run_for_programs_has_the_jobs_that_fail(denoise: Callable[..., Result]) -> None:
    write_speech(Path("a.wav"), 0.2)
    Path("list.csv").write_text("input,output\na.wav,a.txt\na.wav,out.wav\n")
    words = ("--list", "list.csv", "--dry-run")
    plan = [
        {"file": "a.wav", "status": "planned", "input": "a.wav", "output": ["out.wav"]},
        {"file": "a.wav", "status": "failed", "input": "a.wav", "output": []},
    ]
    for form in (("--json",), ("--progress", "json")):
        result = denoise(*words, *form)
        assert result.exit_code == 1
        if form == ("--json",):
            found = json.loads(result.stdout)["plan"]
        else:
            assert result.stdout == ""
            found = [json.loads(line) for line in result.stderr.splitlines()]
            assert {(event.pop("schema"), event.pop("event")) for event in found} == {(1, "planned")}
        assert "list.csv: line 2" in found[1].pop("error")
        assert found == plan
    assert not Path("out.wav").exists()


def test_the_output_is_the_pipelines(denoise: Callable[..., Result], tiny_checkpoint: Path) -> None:
    write_speech(Path("in.wav"), 1.5, 44100, 2, subtype="FLOAT")
    assert (
        denoise("in.wav", "-o", "out.wav", "--max-attenuation", 12, "--residual", "rest.wav").exit_code == 0
    )
    x, rate = audiotool.read("in.wav")
    expected = audiotool.load(tiny_checkpoint, "cpu", max_attenuation_db=12.0)(x, rate)
    np.testing.assert_allclose(audiotool.read("out.wav")[0], expected, atol=1e-5)
    np.testing.assert_allclose(audiotool.read("rest.wav")[0], x - expected, atol=1e-5)


def test_mixed_folder_with_failures(denoise: Callable[..., Result]) -> None:
    for name, rate, channels in (("a.wav", 8000, 1), ("b/c.flac", 96000, 2), ("b/d.ogg", 48000, 1)):
        write_speech(Path("in") / name, 0.3, rate, channels)
    write_speech(Path("in/surround.wav"), 0.3, 48000, 6)
    Path("in/letter.mp3").write_bytes(b"Dear friend, ...")
    result = denoise("in", "-o", "out", "--report", "r.csv")
    assert result.exit_code == 1
    assert "1 of 5 files failed" in result.stderr
    assert "in/letter.mp3 cannot be read as audio" in result.stderr
    found = sorted(p.relative_to("out").as_posix() for p in Path("out").rglob("*") if p.is_file())
    assert found == ["a.wav", "b/c.flac", "b/d.ogg", "surround.wav"]
    assert Path("r.csv").read_text().count("\n") == 1 + 5
    repeated = denoise("in", "-o", "out")
    assert repeated.exit_code == 2
    assert "--skip-existing" in one_line(repeated)
    assert denoise("in", "-o", "out", "--skip-existing").exit_code == 1
    Path("in/letter.mp3").unlink()
    quiet = denoise("in", "-o", "out", "--overwrite", "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_pipes(denoise: Callable[..., Result]) -> None:
    write_speech(Path("in.wav"), 1.0, 22050, 2)
    assert denoise("in.wav", "-o", "out.wav").exit_code == 0
    expected = Path("out.wav").read_bytes()
    result = denoise("in.wav", "-o", "-")
    assert result.stdout_bytes == expected
    data = Path("in.wav").read_bytes()
    endless = data[:40] + b"\xff\xff\xff\xff" + data[44:]
    for stdin in (data, endless):
        result = denoise("-", stdin=stdin)
        assert result.exit_code == 0
        samples = np.frombuffer(result.stdout_bytes[44:], "<i2")
        assert np.abs(samples.astype(int) - np.frombuffer(expected[44:], "<i2")).max() <= 1
        assert len(samples) == 2 * 22050
    # The header of a pipe is written before anybody knows that the second recording is left out.
    Path("both.wav").write_bytes(endless + endless)
    result = denoise("both.wav", "-o", "-")
    assert result.stdout_bytes[40:44] == b"\xff\xff\xff\xff"
    assert result.stdout_bytes[44:] == expected[44:]
    assert denoise("-", "-o", "piped.flac", stdin=data).exit_code == 0
    assert soundfile.info("piped.flac").frames == 22050


@pytest.mark.parametrize(
    ("name", "seconds", "rate", "channels"),
    [
        ("one-sample.wav", 1 / 16000, 16000, 1),
        ("32-channels.wav", 0.1, 16000, 32),
        ("telephone.wav", 0.2, 8000, 1),
        ("studio.wav", 0.2, 192000, 1),
    ],
)
def test_unusual_inputs_come_out_whole(
    denoise: Callable[..., Result], name: str, seconds: float, rate: int, channels: int
) -> None:
    write_speech(Path(name), seconds, rate, channels)
    assert denoise(name, "-o", "out.wav").exit_code == 0
    before, after = soundfile.info(name), soundfile.info("out.wav")
    assert (before.frames, before.channels, before.samplerate) == (
        after.frames,
        after.channels,
        after.samplerate,
    )


def test_silence_stays_silent(denoise: Callable[..., Result]) -> None:
    audiotool.write("in.wav", np.zeros(8000), 16000)
    assert denoise("in.wav", "-o", "out.wav").exit_code == 0
    assert np.abs(audiotool.read("out.wav")[0]).max() < 0.01


def test_truncated_input_is_processed_with_a_warning(denoise: Callable[..., Result]) -> None:
    data = write_speech(Path("whole.wav"), 1.0).read_bytes()
    Path("half.wav").write_bytes(data[: len(data) // 2])
    result = denoise("half.wav", "-o", "out.wav")
    assert result.exit_code == 0
    assert "half.wav is truncated: 0.50 s of 1.00 s" in result.stderr
    assert soundfile.info("out.wav").frames == (len(data) // 2 - 44) // 2


def test_chunks_of_a_recorder_are_kept_or_named(denoise: Callable[..., Result]) -> None:
    write_speech(Path("in.wav"))
    data = Path("in.wav").read_bytes()
    bext = b"bext" + (602).to_bytes(4, "little") + b"a field recorder".ljust(602, b"\0")
    Path("in.wav").write_bytes(data + bext)
    result = denoise("in.wav", "-o", "out.wav")
    assert result.exit_code == 0, result.output
    assert bext in Path("out.wav").read_bytes()
    assert "bext" not in result.stderr
    result = denoise("in.wav", "-o", "out.flac")
    assert result.exit_code == 0, result.output
    assert "tags and chunks that the output does not keep: bext" in " ".join(result.stderr.split())


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW"])
def test_codings_of_telephones_stay_in_pipes(denoise: Callable[..., Result], subtype: str) -> None:
    soundfile.write("in.wav", speech_like(0.3, 8000)[0], 8000, subtype)
    for words in (("in.wav",), ("in.wav", "--subtype", subtype.lower())):
        result = denoise(*words, "-o", "-")
        assert result.exit_code == 0, result.stderr
        assert soundfile.info(io.BytesIO(result.stdout_bytes)).subtype == subtype
        assert "streamed" not in result.stderr


def test_a_coding_that_a_pipe_has_not_is_named(denoise: Callable[..., Result]) -> None:
    soundfile.write("in.wav", speech_like(0.3, 8000)[0], 8000, "IMA_ADPCM")
    result = denoise("in.wav", "-o", "-")
    assert result.exit_code == 0, result.stderr
    assert soundfile.info(io.BytesIO(result.stdout_bytes)).subtype == "PCM_16"
    assert "IMA_ADPCM cannot be streamed: PCM_16 is written" in " ".join(result.stderr.split())


def test_wrong_ending_is_read_by_its_content(denoise: Callable[..., Result]) -> None:
    write_speech(Path("in.flac")).rename("in.wav")
    assert denoise("in.wav", "-o", "out.wav").exit_code == 0
    assert soundfile.info("out.wav").format == "WAV"


def test_without_an_output_it_goes_beside_the_input(denoise: Callable[..., Result]) -> None:
    for name in ("in.wav", "more/a.flac", "more/b/c.wav"):
        write_speech(Path(name), 0.2)
    assert denoise("in.wav").exit_code == 0
    assert denoise("more").exit_code == 0
    assert sorted(os.listdir()) == ["in.wav", "in_denoised.wav", "more"]
    assert sorted(p.name for p in Path("more").rglob("*.*")) == [
        *("a.flac", "a_denoised.flac", "c.wav", "c_denoised.wav")
    ]
    before = Path("in_denoised.wav").read_bytes()
    repeated = denoise("in.wav", "--mix", 0.5)
    assert (repeated.exit_code, "in_denoised.wav exists already" in one_line(repeated)) == (2, True)
    assert Path("in_denoised.wav").read_bytes() == before
    assert denoise("more", "--skip-existing").exit_code == 0
    assert len(list(Path("more").rglob("*.*"))) == 4, "outputs are not taken for inputs"
