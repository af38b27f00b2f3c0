"""Bare samples without a header, as of telephones, sound cards and `ffmpeg -f s16le`."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiotool.audio.levels import FloatBlock, quantise
from audiotool.audio.pipe import some, wav_bytes
from audiotool.discovery import nearest
from audiotool.errors import InputError

SUBTYPES = {
    "s16le": "PCM_16",
    "s24le": "PCM_24",
    "s32le": "PCM_32",
    "f32le": "FLOAT",
    "mulaw": "ULAW",
    "alaw": "ALAW",
}
"""FFmpeg's names of sample formats -> libsndfile's."""

WIDTHS = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "ULAW": 1, "ALAW": 1}
"""Bytes of a sample by format."""


@dataclass(frozen=True)
class Raw:
    """Format of bare samples; channels are interleaved.

    Args:
        encoding: a key of `SUBTYPES`.
        sample_rate: Hz; None where only the output is raw.
        channels: 1 or more.
    Raises:
        InputError: the encoding does not exist.
    """

    encoding: str
    sample_rate: int | None = None
    channels: int = 1

    def __post_init__(self) -> None:
        if self.encoding not in SUBTYPES:
            raise InputError(
                f"there is no sample format '{self.encoding}'{nearest(self.encoding, list(SUBTYPES))}"
                f" Known: {', '.join(SUBTYPES)}."
            )

    @property
    def subtype(self) -> str:
        """libsndfile's name of the encoding."""
        return SUBTYPES[self.encoding]

    @property
    def frame_bytes(self) -> int:
        """Bytes of a sample of all channels."""
        return WIDTHS[self.subtype] * self.channels

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Decode whole frames to (frames, channels); full scale is 1."""
        if self.subtype == "PCM_24":
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            samples = wide.view("<i4")[:, 0] / np.float32(1 << 31)
        elif self.subtype in ("ULAW", "ALAW"):
            samples = _expansion(self.subtype)[np.frombuffer(data, np.uint8)]
        elif self.subtype == "FLOAT":
            samples = np.frombuffer(data, "<f4")
        else:
            kind = f"<i{WIDTHS[self.subtype]}"
            samples = np.frombuffer(data, kind) / np.float32(1 << (8 * WIDTHS[self.subtype] - 1))
        found: NDArray[np.float32] = samples.astype(np.float32, copy=False).reshape(-1, self.channels)
        return found

    def encode(self, block: FloatBlock) -> tuple[bytes, int]:
        """Encode (frames, channels) to bytes; also return the number of samples beyond full scale, which are
        limited."""
        if self.subtype not in ("ULAW", "ALAW"):
            return wav_bytes(block, self.subtype)
        integers, beyond = quantise(block, 16)
        return _compression(self.subtype)[(integers >> 16) + 32768].tobytes(), beyond


class RawFile:
    """Bare samples from a pipe, with the part of soundfile's interface that a reader uses.

    Args:
        pipe: at its first sample.
        raw: format of the samples.
        name: name in messages.
    Attributes:
        warnings: complete at the end.
    """

    format = "RAW"
    frames = 0

    def __init__(self, pipe: BinaryIO, raw: Raw, name: str) -> None:
        assert raw.sample_rate is not None
        self.samplerate, self.channels, self.subtype = raw.sample_rate, raw.channels, raw.subtype
        self.warnings: list[str] = []
        self._pipe, self._raw, self._name = pipe, raw, name
        self._held = b""

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> NDArray[np.float32]:
        """Return (n, channels), n <= frames: the samples that the pipe has now. n is 0 at the end."""
        width = self._raw.frame_bytes
        while len(self._held) < width:
            more = some(self._pipe, frames * width - len(self._held))
            if not more:
                if self._held:
                    self.warnings.append(
                        f"{self._name} ends within a sample: {len(self._held)} of {width} bytes are left out"
                    )
                self._held = b""
                return np.zeros((0, self.channels), np.float32)
            self._held += more
        whole = len(self._held) // width * width
        data, self._held = self._held[:whole], self._held[whole:]
        return self._raw.decode(data)

    def copy_metadata(self) -> dict[str, str]:
        """Return no tags."""
        return {}

    def close(self) -> None:
        """Do nothing: the caller closes the pipe."""


@functools.cache
def _expansion(subtype: str) -> NDArray[np.float32]:
    """Return the sample of each byte (ITU-T G.711)."""
    every = io.BytesIO(bytes(range(256)))
    form = {"samplerate": 8000, "channels": 1, "format": "RAW", "subtype": subtype}
    samples: NDArray[np.float32] = soundfile.read(every, dtype="float32", **form)[0]
    return samples


@functools.cache
def _compression(subtype: str) -> NDArray[np.uint8]:
    """Return the byte of each sample of 16 bits, from the lowest on."""
    every, memory = np.arange(-32768, 32768).astype(np.int16), io.BytesIO()
    soundfile.write(memory, every, 8000, format="RAW", subtype=subtype)
    return np.frombuffer(memory.getvalue(), np.uint8)
