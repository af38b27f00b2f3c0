"""Writing to standard output: WAVs of known and unknown length, their codings, refusals."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like

from audiotool.audio.extras import Extras
from audiotool.audio.file_writer import FileWriter
from audiotool.audio.pipe_writer import PipeWriter
from audiotool.audio.writer import OutputFormat
from audiotool.errors import InputError


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("frames", [None, 1600])
def test_pipe_output_is_a_wav(subtype: str, frames: int | None) -> None:
    x = speech_like(0.1, 16000, 2)
    stream = io.BytesIO()
    with PipeWriter(OutputFormat(16000, 2, subtype, frames=frames), stdout=stream) as writer:
        for start in range(0, 1600, 300):
            writer.write(x.T[start : start + 300])
    stream.seek(0)
    y, rate = soundfile.read(stream, dtype="float32")
    assert rate == 16000
    np.testing.assert_allclose(y, x.T, atol=1 / 64 if subtype == "PCM_U8" else 1e-4)


@pytest.mark.parametrize(
    ("subtype", "frames"), [("PCM_U8", 101), ("PCM_24", 101), ("PCM_16", 101), ("PCM_24", 100)]
)
def test_pipe_output_is_as_long_as_its_header_says(subtype: str, frames: int) -> None:
    stream = io.BytesIO()
    with PipeWriter(OutputFormat(16000, 1, subtype, frames=frames), stdout=stream) as writer:
        writer.write(np.zeros((frames, 1), np.float32))
    data = stream.getvalue()
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    assert len(data) % 2 == 0


def test_pipe_output_of_more_than_4_gib_a_second() -> None:
    stream, x = io.BytesIO(), np.zeros((10, 128), np.float32)
    with PipeWriter(OutputFormat(20_000_000, 128, frames=10), stdout=stream) as writer:
        writer.write(x)
    stream.seek(0)
    y, rate = soundfile.read(stream)
    assert (y.shape, rate) == (x.shape, 20_000_000)


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "FLOAT"])
@pytest.mark.parametrize("frames", [None, 1601])
def test_pipe_output_that_is_not_pcm(subtype: str, frames: int | None) -> None:
    """Unchanged samples come out bit for bit, for libsndfile and FFmpeg."""
    stream, file = io.BytesIO(), io.BytesIO()
    soundfile.write(file, speech_like(0.2, 16000)[0][:1601], 16000, subtype, format="WAV")
    file.seek(0)
    x = soundfile.read(file, dtype="float32")[0]
    with PipeWriter(OutputFormat(16000, 1, subtype, frames=frames), stdout=stream) as writer:
        for start in range(0, 1601, 300):
            writer.write(x[start : start + 300, None])
    assert (writer.subtype, writer.recoded) == (subtype, "")
    data = stream.getvalue()
    width = 4 if subtype == "FLOAT" else 1
    tag = {"ULAW": 7, "ALAW": 6, "FLOAT": 3}[subtype]
    form = struct.pack("<4sIHHIIHHH", b"fmt ", 18, tag, 1, 16000, 16000 * width, width, 8 * width, 0)
    known = (1601, 1601 * width) if frames else (0, 0xFFFFFFFF)
    sizes = struct.pack("<4sII4sI", b"fact", 4, known[0], b"data", known[1])
    assert data[8:58] == b"WAVE" + form + sizes
    assert int.from_bytes(data[4:8], "little") == (len(data) - 8 if frames else 0xFFFFFFFF)
    with soundfile.SoundFile(io.BytesIO(data)) as found:
        assert (found.subtype, found.samplerate) == (subtype, 16000)
        samples = found.read(dtype="float32")
    np.testing.assert_array_equal(samples, x)
    av = pytest.importorskip("av")
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.audio[0].duration == 1601
        decoded = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    full = 1 if subtype == "FLOAT" else 32768
    np.testing.assert_array_equal(np.concatenate(decoded)[:1601] / full, samples)


@pytest.mark.parametrize(
    ("subtype", "written"),
    [
        ("VORBIS", "PCM_16"),
        ("MPEG_LAYER_III", "PCM_16"),
        ("PCM_S8", "PCM_U8"),
        ("ALAC_24", "PCM_24"),
        ("IMA_ADPCM", "PCM_16"),
        ("GSM610", "PCM_16"),
    ],
)
def test_pipe_output_has_the_coding_of_a_wav_file_or_says_so(
    tmp_path: Path, subtype: str, written: str
) -> None:
    of_pipe = PipeWriter(OutputFormat(8000, 1, subtype), stdout=io.BytesIO())
    with FileWriter(tmp_path / "a.wav", OutputFormat(8000, 1, subtype)) as of_file:
        of_file.write(np.zeros((2, 1), np.float32))
    assert of_pipe.subtype == written
    assert (of_pipe.recoded != "") == (of_file.subtype != written)
    if of_pipe.recoded:
        assert of_pipe.recoded == f"{subtype} cannot be streamed: PCM_16 is written"


def test_pipe_output_of_a_coding_that_is_only_read_says_so() -> None:
    for family, asked, said in (("RIFF", None, True), ("RIFF", "PCM_16", False), ("CAF", None, False)):
        wanted = OutputFormat(8000, 1, "G726", asked_subtype=asked, extras=Extras(family))
        writer = PipeWriter(wanted, stdout=io.BytesIO())
        assert writer.recoded == ("G726 in WAV is only read: PCM_16 is written" if said else "")


def test_pipe_output_refuses() -> None:
    with pytest.raises(InputError, match="takes WAV"):
        PipeWriter(OutputFormat(16000, 1, asked_format="flac"), stdout=io.BytesIO())
    with pytest.raises(InputError, match="takes PCM_U8"):
        PipeWriter(OutputFormat(16000, 1, asked_subtype="VORBIS"), stdout=io.BytesIO())


def test_pipe_output_refuses_a_terminal() -> None:
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    with pytest.raises(InputError, match="terminal"):
        PipeWriter(OutputFormat(16000, 1), stdout=Terminal())


def test_pipe_output_to_a_full_device() -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(InputError, match="No space left"):
        PipeWriter(OutputFormat(16000, 1), stdout=full)
