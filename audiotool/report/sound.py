"""Encoders of a page's sound: Opus if PyAV is installed, else Vorbis.

PyAV sets the complexity of Opus. At the lowest, it encodes about 900 times as fast as real time. libsndfile
cannot set it, and its Opus encodes about 30 times as fast as real time, slower than the denoiser works. Its
Vorbis encodes about 500 times as fast (`scripts/measure_report.py --encoders`).
"""

from __future__ import annotations

import io
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiotool.audio.file_writer import WRITE_FRAMES
from audiotool.audio.formats import opus_rate
from audiotool.extras import is_there
from audiotool.signals import deferred

Samples = NDArray[np.float32]

KIND = "audio/ogg"
"""MIME type of the encoded sound."""

BIT_RATE = 40000
"""Bit rate of Opus, in bit/s a channel."""

QUICKEST = {"compression_level": "0", "frame_duration": "120"}
"""Options of libopus: lowest complexity, packets of 120 ms."""


class Encoder(Protocol):
    """Encodes a recording that comes in blocks."""

    def feed(self, block: Samples) -> None:
        """Take the next samples, (channels, time)."""

    def finish(self) -> bytes:
        """Return the Ogg file."""


def make_encoder(sample_rate: int, channels: int) -> Encoder:
    """Return an encoder for a recording of one or two channels and a sample rate in Hz."""
    return (Opus if is_there("av") else Vorbis)(sample_rate, channels)


class Opus:
    """Opus by libopus through PyAV. A recording of a rate that Opus does not have is resampled to 48 kHz."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        import av

        self._rate = sample_rate
        self._layout = "mono" if channels == 1 else "stereo"
        self._content = io.BytesIO()
        self._file = av.open(self._content, "w", format="ogg")
        rate = opus_rate(sample_rate)
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
    """Vorbis by libsndfile: about 40 kbit/s for one channel of speech."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._content = io.BytesIO()
        form = {"subtype": "VORBIS", "format": "OGG"}
        with deferred():
            self._file = soundfile.SoundFile(self._content, "w", sample_rate, channels, **form)

    def feed(self, block: Samples) -> None:
        for first in range(0, block.shape[1], WRITE_FRAMES):
            with deferred():
                self._file.write(block[:, first : first + WRITE_FRAMES].T)

    def finish(self) -> bytes:
        with deferred():
            self._file.close()
        return self._content.getvalue()
