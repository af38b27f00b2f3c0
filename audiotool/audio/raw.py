"""Bare samples: without a header, as of telephones, sound cards and `ffmpeg -f s16le`, or behind a WAV's."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiotool.arrays import in_whole_hertz, whole_number
from audiotool.audio.extras import Extras
from audiotool.audio.formats import SAMPLE_BYTES
from audiotool.audio.levels import FloatBlock, rounded
from audiotool.errors import InputError
from audiotool.text import nearest
from audiotool.value_types import quote

SUBTYPES = {
    "u8": "PCM_U8",
    "s16le": "PCM_16",
    "s24le": "PCM_24",
    "s32le": "PCM_32",
    "f32le": "FLOAT",
    "f64le": "DOUBLE",
    "mulaw": "ULAW",
    "alaw": "ALAW",
}
"""FFmpeg's names of sample formats -> libsndfile's."""

ENCODINGS = {subtype: encoding for encoding, subtype in SUBTYPES.items()}
"""libsndfile's names of sample formats -> FFmpeg's."""

WIDTHS = {subtype: SAMPLE_BYTES[subtype] for subtype in ENCODINGS}
"""Bytes of a sample by format."""

DTYPES = {"PCM_U8": "u1", "PCM_16": "<i2", "PCM_32": "<i4", "FLOAT": "<f4", "DOUBLE": "<f8"}
"""numpy's type of a sample, for the formats that have one."""


@dataclass(frozen=True)
class Raw:
    """Format of bare samples; channels are interleaved.

    Args:
        encoding: a key of `SUBTYPES`.
        sample_rate: Hz; None where only the output is raw.
        channels: 1 or more.
    Raises:
        InputError: the encoding does not exist, or a number is not whole and above 0.
    """

    encoding: str
    sample_rate: int | None = None
    channels: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.encoding, str):
            raise InputError(f"a sample format is a str, got {quote(self.encoding)}")
        if self.encoding not in SUBTYPES:
            raise InputError(
                f"there is no sample format '{self.encoding}'{nearest(self.encoding, list(SUBTYPES))}"
                f" Known: {', '.join(SUBTYPES)}."
            )
        if self.sample_rate is not None:
            object.__setattr__(self, "sample_rate", in_whole_hertz(self.sample_rate))
        object.__setattr__(self, "channels", whole_number(self.channels, "bare samples have channels"))

    @property
    def subtype(self) -> str:
        """libsndfile's name of the encoding."""
        return SUBTYPES[self.encoding]

    @property
    def frame_bytes(self) -> int:
        """Bytes of a sample of all channels."""
        return WIDTHS[self.subtype] * self.channels

    @property
    def rate(self) -> int:
        """The sample rate in Hz.

        Raises:
            InputError: it is not known.
        """
        if self.sample_rate is None:
            raise InputError("bare samples do not say their rate: give --raw-rate HZ")
        return self.sample_rate

    def libsndfile(self) -> dict[str, Any]:
        """Return the arguments with which libsndfile opens a file of such samples.

        Raises:
            InputError: the sample rate is not known.
        """
        return {
            "samplerate": self.rate,
            "channels": self.channels,
            "format": "RAW",
            "subtype": self.subtype,
            "endian": "LITTLE",
        }

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Decode whole frames to (frames, channels); full scale is 1."""
        if self.subtype == "PCM_24":
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            samples = wide.view("<i4")[:, 0] / np.float32(1 << 31)
        elif self.subtype in ("ULAW", "ALAW"):
            samples = _expansion(self.subtype)[np.frombuffer(data, np.uint8)]
        else:
            samples = np.frombuffer(data, DTYPES[self.subtype])
        if self.subtype == "PCM_U8":
            samples = (samples - np.float32(128)) / np.float32(128)
        elif self.subtype in ("PCM_16", "PCM_32"):
            samples = samples / np.float32(1 << (8 * WIDTHS[self.subtype] - 1))
        elif self.subtype == "DOUBLE":
            with np.errstate(over="ignore"):
                samples = samples.astype(np.float32)
        found: NDArray[np.float32] = samples.astype(np.float32, copy=False).reshape(-1, self.channels)
        return found

    def encode(self, block: FloatBlock) -> tuple[bytes, int]:
        """Encode (frames, channels) to bytes; also return the number of samples beyond full scale, which are
        limited."""
        if self.subtype in ("FLOAT", "DOUBLE"):
            return block.astype(DTYPES[self.subtype]).tobytes(), 0
        companded = self.subtype in ("ULAW", "ALAW")
        values, beyond = rounded(block, 16 if companded else 8 * WIDTHS[self.subtype])
        if companded:
            return _compression(self.subtype)[values.astype(np.int32) + 32768].tobytes(), beyond
        if self.subtype == "PCM_U8":
            return (values + 128).astype(np.uint8).tobytes(), beyond
        if self.subtype == "PCM_24":
            wide = np.ascontiguousarray(values.astype("<i4")).view(np.uint8).reshape(*values.shape, 4)
            return wide[..., :3].tobytes(), beyond
        return values.astype(DTYPES[self.subtype]).tobytes(), beyond


class RawFile:
    """Bare samples from a pipe, with the interface of `audio.forward.ForwardFile`.

    Args:
        pipe: at its first sample.
        raw: format of the samples.
        name: name in messages.
        frames: samples a channel; None reads to the pipe's end.
    Attributes:
        format: libsndfile's name of the container.
        extras: chunks, metadata and speakers beside the samples.
        warnings: complete at the end.
    """

    format = "RAW"
    extras = Extras()
    extra_info = ""
    is_media = has_video = is_cut = False
    stated_frames: int | None = None
    expected_frames: int | None = None
    slack = 0

    def __init__(self, pipe: BinaryIO, raw: Raw, name: str, frames: int | None = None) -> None:
        self.samplerate, self.channels, self.subtype = raw.rate, raw.channels, raw.subtype
        self.frames = frames
        self.warnings: list[str] = []
        self._pipe, self._raw, self._name = pipe, raw, name
        self._left = None if frames is None else frames * raw.frame_bytes
        self._held = b""

    def read(self, frames: int) -> NDArray[np.float32]:
        """Return (n, channels), n <= frames: the samples that the pipe has now. n is 0 at the end."""
        width = self._raw.frame_bytes
        while len(self._held) < width:
            more = self._next(frames * width - len(self._held))
            if not more:
                # If the length is known, the reader reports the missing samples.
                if self._held and self._left is None:
                    self.warnings.append(
                        f"{self._name} ends within a sample: {len(self._held)} of {width} bytes are left out"
                    )
                self._held = b""
                return np.zeros((0, self.channels), np.float32)
            self._held += more
        whole = len(self._held) // width * width
        data, self._held = self._held[:whole], self._held[whole:]
        return self._raw.decode(data)

    def _next(self, size: int) -> bytes:
        """Return at most `size` bytes of samples, as `some`."""
        if self._left is None:
            return some(self._pipe, size)
        more = some(self._pipe, min(size, self._left))
        self._left -= len(more)
        return more

    def remarks(self) -> list[str]:
        """Return remarks for the user on what follows the samples, once all samples are read."""
        return []

    def copy_metadata(self) -> dict[str, str]:
        """Return title, artist and others, by libsndfile's names."""
        return {}

    def close(self) -> None:
        """Do nothing: the caller closes the pipe."""


def some(pipe: BinaryIO, size: int) -> bytes:
    """Read at most `size` bytes once: wait for the first byte, not for all."""
    read = getattr(pipe, "read1", pipe.read)
    return read(size) or b""


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
