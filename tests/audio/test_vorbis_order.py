"""Channels of Ogg Vorbis and Opus lie where players find them, and have WAV's order in audiotool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from kit.command import run_command
from numpy.typing import NDArray

from audiotool.audio.outputs import write
from audiotool.audio.reader import excerpt, read

RATE = 48000
LAYOUTS = {3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""FFmpeg's names of the speakers of so many channels; it has WAV's order."""

FIRST_HZ, STEP_HZ = 60, 20
"""Low, because Opus keeps nothing else of the channel of low frequencies."""

CODINGS = ["a.ogg", "a.opus"]


def tones(channels: int) -> NDArray[np.float32]:
    """(channels, time): a second of another tone in each channel."""
    t = np.arange(RATE) / RATE
    hz = FIRST_HZ + STEP_HZ * np.arange(channels)
    return (0.3 * np.sin(2 * np.pi * hz[:, None] * t)).astype(np.float32)


def order(waveform: NDArray[np.float32]) -> list[int]:
    """The number of the tone that each channel holds."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(waveform.shape[1])))
    hz = spectrum.argmax(axis=1) * RATE / waveform.shape[1]
    return [round((found - FIRST_HZ) / STEP_HZ) for found in hz]


def encode(path: Path, channels: int, **options: str) -> Path:
    """Write the tones by FFmpeg, or, where it writes none or itself reads others, so that it reads them."""
    if path.suffix == ".ogg" or channels in (5, 7):
        write(path, tones(channels), RATE)
        assert order(decode(path)) == list(range(channels))
        return path
    with av.open(str(path), "w", format="ogg") as container:
        layout = LAYOUTS[channels]
        stream: Any = container.add_stream("libopus", rate=RATE, layout=layout, options=options)
        packed = np.ascontiguousarray(tones(channels).T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate, frame.pts = RATE, 0
        for piece in (frame, None):
            container.mux(stream.encode(piece))
    return path


def decode(path: Path) -> NDArray[np.float32]:
    """(channels, time) as FFmpeg reads it."""
    with av.open(str(path)) as container:
        sampler = av.AudioResampler("flt")
        pieces = [piece for frame in container.decode(audio=0) for piece in sampler.resample(frame)]
        channels = container.streams.audio[0].codec_context.layout.nb_channels
        samples = np.concatenate([piece.to_ndarray().reshape(-1, channels) for piece in pieces])
    return np.ascontiguousarray(samples[:RATE].T)


@pytest.mark.parametrize("channels", LAYOUTS)
@pytest.mark.parametrize("name", CODINGS)
def test_channels_are_read_in_the_order_of_wav(tmp_path: Path, name: str, channels: int) -> None:
    path = encode(tmp_path / name, channels)
    waveform, rate = read(path)
    assert (rate, order(waveform[:, :RATE])) == (RATE, list(range(channels)))
    assert order(excerpt(path, 4800, RATE // 2)) == list(range(channels))


@pytest.mark.parametrize("channels", LAYOUTS)
@pytest.mark.parametrize("name", CODINGS)
def test_channels_are_written_where_players_find_them(tmp_path: Path, name: str, channels: int) -> None:
    path = tmp_path / name
    write(path, tones(channels), RATE)
    assert order(decode(path)) == list(range(channels))


def test_an_opus_of_channels_without_speakers_keeps_their_order(tmp_path: Path) -> None:
    waveform, _ = read(encode(tmp_path / "a.opus", 6, mapping_family="255"))
    assert order(waveform) == list(range(6))


@pytest.mark.parametrize(
    ("source", "target"), [("a.opus", "b.flac"), ("a.ogg", "b.wav"), ("a.wav", "b.opus"), ("a.opus", "b.ogg")]
)
def test_a_task_keeps_every_channel_in_its_place(tmp_path: Path, source: str, target: str) -> None:
    path = tmp_path / source
    if path.suffix == ".wav":
        soundfile.write(path, tones(6).T, RATE)
    else:
        encode(path, 6)
    done = run_command("denoise", path, "-o", tmp_path / target, "--mix", 0)
    assert done.exit_code == 0, done.output
    assert order(read(tmp_path / target)[0]) == list(range(6))
    if target.endswith("opus"):
        assert order(decode(tmp_path / target)) == list(range(6))
