"""Recordings in small, for the page: Opus where PyAV is installed, else Vorbis.

Opus can be told how hard to try. libsndfile has no way to say it, and encodes some 30 times as fast as real
time, slower than the denoiser works. Through PyAV, at the quickest, it is some 900 times; libsndfile's Vorbis
500 times (`scripts/measure_report.py --encoders`).
"""

from __future__ import annotations

import io
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiotool.audio.formats import OPUS_RATES
from audiotool.extras import is_there

Samples = NDArray[np.float32]

KIND = "audio/ogg"
BIT_RATE = 40000
"""Bit/s of each channel of Opus."""

QUICKEST = {"compression_level": "0", "frame_duration": "120"}
"""libopus's options."""

WRITE_FRAMES = 1 << 15
"""Frames handed to libsndfile at a time: its Vorbis encoder overruns the stack on great blocks."""


class Encoder(Protocol):
    """Takes a recording block by block."""

    def feed(self, block: Samples) -> None:
        """Take the next samples, (channels, time)."""

    def finish(self) -> bytes:
        """Return the Ogg file."""


def make_encoder(sample_rate: int, channels: int) -> Encoder:
    """Return the encoder of a recording of one channel or two."""
    return (Opus if is_there("av") else Vorbis)(sample_rate, channels)


class Opus:
    """libopus at its quickest, through PyAV. Recordings of a rate that Opus lacks are resampled to 48 kHz."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        import av

        self._rate = sample_rate
        self._layout = "mono" if channels == 1 else "stereo"
        self._content = io.BytesIO()
        self._file = av.open(self._content, "w", format="ogg")
        rate = sample_rate if sample_rate in OPUS_RATES else OPUS_RATES[-1]
        self._stream: Any = self._file.add_stream("libopus", rate=rate, options=QUICKEST)
        self._stream.layout = self._layout
        self._stream.bit_rate = BIT_RATE * channels
        self._resampler = None
        if rate != sample_rate:
            self._resampler = av.AudioResampler("flt", self._layout, rate)

    def feed(self, block: Samples) -> None:
        from av import AudioFrame

        if not block.shape[1]:
            return
        packed = np.ascontiguousarray(block.T, np.float32).reshape(1, -1)
        frame = AudioFrame.from_ndarray(packed, "flt", self._layout)
        frame.sample_rate = self._rate
        self._encode(frame)

    def finish(self) -> bytes:
        if self._resampler is not None:
            self._encode(None)
        for packet in self._stream.encode(None):
            self._file.mux(packet)
        self._file.close()
        return self._content.getvalue()

    def _encode(self, frame: Any) -> None:
        for part in [frame] if self._resampler is None else self._resampler.resample(frame):
            for packet in self._stream.encode(part):
                self._file.mux(packet)


class Vorbis:
    """libsndfile's Vorbis, about 40 kbit/s for speech of one channel."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._content = io.BytesIO()
        self._file = soundfile.SoundFile(self._content, "w", sample_rate, channels, "VORBIS", format="OGG")

    def feed(self, block: Samples) -> None:
        for first in range(0, block.shape[1], WRITE_FRAMES):
            self._file.write(block[:, first : first + WRITE_FRAMES].T)

    def finish(self) -> bytes:
        self._file.close()
        return self._content.getvalue()
