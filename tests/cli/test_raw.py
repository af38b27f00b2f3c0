"""Bare samples through pipes: every encoding, any pieces, close behind the input, nothing lost."""

from __future__ import annotations

import io
import json
import os
import select
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like
from kit.patience import PATIENCE

import audiotool
from audiotool.audio.pipe_writer import wav_header
from audiotool.audio.raw import SUBTYPES, Raw, RawFile

COMMAND = (sys.executable, "-m", "audiotool")
TINY = ("--model", "denoise-tiny-16k", "--raw")


def run(*words: object, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *map(str, words)], input=data, capture_output=True, timeout=PATIENCE)


@pytest.mark.parametrize("encoding", SUBTYPES)
def test_encodings_are_libsndfiles(encoding: str, tmp_path: Path) -> None:
    x = speech_like(0.1, 8000, 2).T * 3
    raw = Raw(encoding, 8000, 2)
    form = {"format": "RAW", "subtype": raw.subtype, "endian": "LITTLE"}
    soundfile.write(str(tmp_path / "a.raw"), np.clip(x, -1, 1), 8000, **form)
    data, limited = raw.encode(x)
    expected = (tmp_path / "a.raw").read_bytes()
    if encoding in ("f32le", "f64le"):
        np.testing.assert_array_equal(np.frombuffer(data, f"<f{raw.frame_bytes // 2}").reshape(-1, 2), x)
    else:
        assert limited == np.count_nonzero(np.abs(x) > 1)
        # A step of G.711 is up to a sixteenth of the sample.
        rtol, atol = (1 / 16, 2**-9) if raw.subtype.endswith("AW") else (0, 2**-15)
        atol = 2**-7 if encoding == "u8" else atol
        np.testing.assert_allclose(raw.decode(data), np.clip(x, -1, 1), rtol=rtol, atol=atol)
    decoded = soundfile.read(
        str(tmp_path / "a.raw"), dtype="float32", channels=2, samplerate=8000, always_2d=True, **form
    )[0]
    np.testing.assert_array_equal(raw.decode(expected), decoded)


def test_whole_samples_come_of_any_pieces() -> None:
    samples = np.arange(-500, 500, dtype="<i2").reshape(-1, 2)
    data = samples.tobytes()
    for size in (1, 3, 7, 1000):
        pieces = [data[n : n + size] for n in range(0, len(data), size)]

        class Pipe(io.RawIOBase):
            def read(self, wanted: int = -1, pieces: list[bytes] = pieces) -> bytes:
                return pieces.pop(0)[:wanted] if pieces else b""

        file = RawFile(Pipe(), Raw("s16le", 8000, 2), "a pipe")  # type: ignore[arg-type]
        blocks = []
        while len(block := file.read(10_000)):
            blocks.append(block)
        np.testing.assert_array_equal(np.concatenate(blocks) * 32768, samples)


@pytest.mark.parametrize(("encoding", "rate", "channels"), [("s16le", 16000, 1), ("mulaw", 8000, 2)])
def test_the_command_gives_what_a_live_stream_gives(encoding: str, rate: int, channels: int) -> None:
    raw = Raw(encoding, rate, channels)
    data = raw.encode(speech_like(1.0, rate, channels).T)[0]
    form = (encoding, "--rate", rate, "--channels", channels)
    done = run("denoise", "-", "-o", "-", *TINY, *form, data=data)
    assert done.returncode == 0, done.stderr
    live = audiotool.load("denoise-tiny-16k").live(rate, channels)
    x = raw.decode(data).T
    expected = np.concatenate([live.feed(x), live.flush()], axis=1).T
    found = raw.decode(done.stdout)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2**-15 if encoding == "s16le" else 0.02)


@pytest.mark.parametrize(
    ("words", "rates"),
    [
        (("separate", "--stems", "speech,background", "-o", "OUT"), (16000, 16000)),
        (("super-resolve", "-o", "-", "--rate", "24000"), (16000, 24000)),
        (("vocode", "-o", "-"), (24000, 24000)),
    ],
)
def test_every_task_takes_them(words: tuple[str, ...], rates: tuple[int, int], tmp_path: Path) -> None:
    raw = Raw("f32le", rates[0], 1)
    data = raw.encode(speech_like(0.5, rates[0]).T)[0]
    words = tuple(str(tmp_path / "out.wav") if word == "OUT" else word for word in words)
    done = run(words[0], "-", *words[1:], "--raw", "f32le", "--raw-rate", rates[0], data=data)
    assert done.returncode == 0, done.stderr
    if words[0] == "separate":
        assert {p.name for p in tmp_path.iterdir()} == {"out.speech.wav", "out.background.wav"}
        assert soundfile.info(str(tmp_path / "out.speech.wav")).frames == rates[0] // 2
    else:
        assert len(done.stdout) == rates[1] // 2 * 4


@pytest.mark.parametrize("is_wav", [False, True])
def test_output_follows_a_writer_that_stalls(is_wav: bool) -> None:
    """After each piece everything but the declared latency comes, though the writer says nothing more."""
    hop, latency = 256, 511
    header = wav_header(16000, 1, "PCM_16", None) if is_wav else b""
    form = ("--chunk", "0.016") if is_wav else (*TINY[2:], "s16le", "--rate", "16000")
    words = ("denoise", "-", "-o", "-", *TINY[:2], *form, "--quiet")
    with subprocess.Popen([*COMMAND, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        x = (speech_like(0.5, 16000)[0] * 32767).astype("<i2")
        process.stdin.write(header)
        got = sent = 0
        to_come = len(header)
        for size in (1, hop - 1, hop, 3 * hop + 5, 1000):
            process.stdin.write(x[sent : sent + size].tobytes())
            process.stdin.flush()
            sent += size
            due = sent - latency
            while got < due:
                data = read_in_time(process.stdout)
                got += (len(data) - to_come) // 2
                to_come = 0
        process.stdin.close()
        while data := read_in_time(process.stdout):
            got += len(data) // 2
        assert got == sent
        assert process.wait(PATIENCE) == 0


def read_in_time(stream: IO[bytes]) -> bytes:
    """What comes next; fails where nothing does."""
    assert select.select([stream], [], [], PATIENCE)[0], "nothing came"
    return os.read(stream.fileno(), 1 << 16)


def test_a_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in.pcm")
    data = Raw("s16le").encode(speech_like(0.5, 16000).T)[0]

    def feed() -> None:
        with (tmp_path / "in.pcm").open("wb") as pipe:
            for n in range(0, len(data), 1001):
                pipe.write(data[n : n + 1001])
                pipe.flush()
                time.sleep(0.001)

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    done = run("denoise", tmp_path / "in.pcm", "-o", tmp_path / "out.wav", *TINY, "s16le", "--rate", "16000")
    assert done.returncode == 0, done.stderr
    info = soundfile.info(str(tmp_path / "out.wav"))
    assert (info.frames, info.samplerate, info.subtype) == (8000, 16000, "PCM_16")


def test_folders_of_bare_samples(tmp_path: Path) -> None:
    """They come out as WAV of their coding, beside other files of the folder; each has its warm-up."""
    calls, out = tmp_path / "calls", tmp_path / "out"
    (calls / "monday").mkdir(parents=True)
    x = speech_like(1.0, 8000)
    samples = Raw("mulaw", 8000).encode(x.T)[0]
    (calls / "monday" / "a.ulaw").write_bytes(samples)
    soundfile.write(calls / "monday" / "b.wav", x[0], 8000, subtype="ULAW")
    (calls / "c.raw").write_bytes(samples)
    done = run("denoise", calls, "-o", out, *TINY, "mulaw", "--raw-rate", "8000")
    assert done.returncode == 0, done.stderr
    found = [soundfile.read(out / name)[0] for name in ("monday/a.wav", "monday/b.wav", "c.wav")]
    assert soundfile.info(out / "c.wav").subtype == "ULAW"
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_allclose(found[0], found[1], atol=0.02)  # libsndfile rounds otherwise
    done = run("denoise", calls / "c.raw", *TINY, "mulaw", "--raw-rate", "8000")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(soundfile.read(calls / "c_denoised.wav")[0], found[0])


def test_bare_samples_and_other_options(tmp_path: Path) -> None:
    x = speech_like(1.0, 8000)
    (tmp_path / "a.ulaw").write_bytes(Raw("mulaw", 8000).encode(x.T)[0])
    soundfile.write(tmp_path / "talk [1].wav", x[0], 8000)
    form = (*TINY, "mulaw", "--raw-rate", "8000")
    done = run("denoise", tmp_path / "a.ulaw", *form, "--format", "flac", "--subtype", "PCM_16")
    assert done.returncode == 0, done.stderr
    assert soundfile.info(tmp_path / "a_denoised.flac").subtype == "PCM_16"
    done = run("denoise", tmp_path / "talk [1].wav", "-o", "-", *TINY, "s16le")
    assert (done.returncode, len(done.stdout)) == (0, 16000)
    report = tmp_path / "r.json"
    words = ("--reference", tmp_path / "talk [1].wav", "--metrics", "si_sdr", "--report", report)
    done = run("denoise", tmp_path / "a.ulaw", "-o", tmp_path / "out.wav", *form, *words)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(report.read_text())["files"]
    assert row["si_sdr"] is not None
    assert "the input itself is not scored: it holds bare samples" in row["notes"]


def test_bare_samples_left_out_of_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "a.ulaw").write_bytes(bytes(8000))
    done = run("denoise", tmp_path / "calls", "-o", tmp_path / "out", *TINY[:2])
    assert done.returncode == 2
    assert "give for example --raw mulaw --raw-rate 8000" in " ".join(done.stderr.decode().split())
    soundfile.write(tmp_path / "calls" / "b.wav", speech_like(0.5, 8000)[0], 8000)
    done = run("denoise", tmp_path / "calls", "-o", tmp_path / "out", *TINY[:2])
    assert done.returncode == 0
    assert "a.ulaw; bare samples do not say what they are" in " ".join(done.stderr.decode().split())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.wav"]


def test_an_odd_byte_at_the_end_is_reported() -> None:
    data = np.zeros(1000, "<i2").tobytes() + b"\1"
    done = run("denoise", "-", "-o", "-", *TINY, "s16le", "--rate", "16000", data=data)
    assert done.returncode == 0
    assert len(done.stdout) == 2000
    assert "ends within a sample: 1 of 2 bytes are left out" in done.stderr.decode()


def test_nan_is_refused_where_it_is() -> None:
    samples = speech_like(1.0, 16000)[0]
    samples[9000] = np.nan
    done = run("denoise", "-", "-o", "-", *TINY, "f32le", "--rate", "16000", data=samples.tobytes())
    assert done.returncode == 1
    assert "nan at sample 9000" in done.stderr.decode()


def test_an_empty_input_is_reported() -> None:
    done = run("denoise", "-", "-o", "-", *TINY, "s16le", "--rate", "16000")
    assert done.returncode == 1
    (line,) = done.stderr.decode().strip().splitlines()
    assert line == "audiotool: standard input holds no audio: no samples came"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-", "-o", "-", "--raw", "s16", "--rate", "16000"), "no sample format 's16'; did you mean 's16le'"),
        (("-", "-o", "-", "--raw", "s16le"), "give --raw-rate HZ"),
        (("-", "-o", "-", "--rate", "16000"), "say what they are with --raw"),
        (("-", "-o", "-", "--channels", "2"), "say what they are with --raw"),
        (("-", "-o", "-", "--raw", "s16le", "--rate", "8000", "--subtype", "FLOAT"), "leave --subtype out"),
        (("a.wav", "-o", "b.wav", "--raw", "s16le", "--rate", "8000"), "--raw is for pipes and for files"),
        (("a.wav", "-o", "-", "--raw", "s16le", "--rate", "8000"), "here none are: leave them out"),
        (("a.wav", "-o", "-", "--raw", "s16le", "--channels", "1"), "here none are: leave them out"),
        (("a.ulaw", "-o", "b.wav", "--raw", "mulaw"), "give --raw-rate HZ"),
        (("-", "-o", "-", "--raw", "s16le", "--rate", "8000", "--channels", "0"), "--channels"),
    ],
)
def test_options_that_do_not_go_together(words: tuple[str, ...], message: str) -> None:
    done = run("denoise", *words)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.decode().split())


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize("encoding", SUBTYPES)
def test_between_ffmpeg_and_ffmpeg(encoding: str, tmp_path: Path) -> None:
    soundfile.write(str(tmp_path / "in.wav"), speech_like(1.0, 16000).T, 16000)
    quiet = ("ffmpeg", "-hide_banner", "-loglevel", "error")
    form = ("-f", encoding, "-ar", "16000", "-ac", "1")
    words = ("denoise", "-", "-o", "-", *TINY, encoding, "--rate", "16000", "--channels", "1", "--quiet")
    with (
        subprocess.Popen(
            [*quiet, "-i", str(tmp_path / "in.wav"), *form, "-"], stdout=subprocess.PIPE
        ) as first,
        subprocess.Popen([*COMMAND, *words], stdin=first.stdout, stdout=subprocess.PIPE) as middle,
        subprocess.Popen([*quiet, *form, "-i", "-", str(tmp_path / "out.wav")], stdin=middle.stdout) as last,
    ):
        assert [process.wait(PATIENCE) for process in (first, middle, last)] == [0, 0, 0]
    assert soundfile.info(str(tmp_path / "out.wav")).frames == 16000
    pipeline = audiotool.load("denoise-tiny-16k")
    live = pipeline.live(16000)
    x = speech_like(1.0, 16000)[0]
    expected = np.concatenate([live.feed(x), live.flush()])
    found = soundfile.read(str(tmp_path / "out.wav"), dtype="float32")[0]
    atol = 0.03 if Raw(encoding).frame_bytes == 1 else 2e-4
    np.testing.assert_allclose(found, expected, atol=atol)
