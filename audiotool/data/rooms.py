"""Room impulse responses."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray

from audiotool.data.clips import Samples, read_audio
from audiotool.errors import InputError

DIRECT_SECONDS = 0.001  # a direct sound of limited bandwidth rings so long after its peak
FADE_SECONDS = 0.005
MAX_PACK_BYTES = 4_000_000_000


@dataclass(frozen=True)
class Response:
    """One response: the direct sound has amplitude 1 at sample `direct`."""

    taps: Samples
    direct: int
    name: str


class Rooms:
    """Every response of a set, in memory.

    Args:
        paths: audio files with one response each (its largest peak is the direct sound), or `.npz` packs with
            `rir` (N, T), `length` (N,), `sample_rate` and `direct_sample`.
        sample_rate: Hz to which they are resampled.
    Raises:
        InputError: a file cannot be read or is silent.
    """

    def __init__(self, paths: Sequence[Path], sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.responses: list[Response] = []
        for path in paths:
            if path.suffix == ".npz":
                self.responses += _read_pack(path, sample_rate)
            else:
                taps = read_audio(path, sample_rate)
                self.responses.append(_normalise(taps, int(np.argmax(np.abs(taps))), path.name))

    def draw(self, rng: np.random.Generator) -> Response:
        """Draw a response; all are equally likely."""
        return self.responses[int(rng.integers(len(self.responses)))]

    def place(
        self,
        speech: Samples,
        response: Response,
        target: Literal["early", "reverberant", "dry"],
        early_ms: float,
    ) -> tuple[Samples, Samples]:
        """Return reverberant speech, and the target of a model; both are aligned with the dry speech.

        Args:
            speech: (T,) dry.
            target: which part of the response the target keeps.
            early_ms: time in ms after the direct sound up to which reflections are early; 0 is the direct
                sound alone.
        Returns:
            (T,) reverberant, (T,) target.
        """
        if target == "early":
            kept = early_taps(response, early_ms, self.sample_rate)
            reverberant, early = convolve(speech, [response.taps, kept], response.direct)
            return reverberant, early
        reverberant = convolve(speech, [response.taps], response.direct)[0]
        return reverberant, reverberant if target == "reverberant" else speech


def early_taps(response: Response, early_ms: float, sample_rate: int) -> Samples:
    """Return the beginning of a response: the direct sound, 1 ms after its peak included, and the reflections
    up to `early_ms` after the peak. The last of these fade out over 5 ms at most.

    Args:
        sample_rate: of the response, Hz.
    """
    after_direct = response.direct + int(DIRECT_SECONDS * sample_rate)
    kept = response.taps[: max(after_direct, response.direct + int(early_ms * 1e-3 * sample_rate))]
    reflections = max(0, len(kept) - after_direct)
    return kept * fade_out(len(kept), min(reflections, int(FADE_SECONDS * sample_rate)))


def convolve(waveform: Samples, filters: Sequence[Samples], direct: int) -> Samples:
    """Return (F, T): the waveform through each filter, without the first `direct` samples, cut to its
    length."""
    longest = max(len(f) for f in filters)
    size = scipy.fft.next_fast_len(len(waveform) + longest - 1, real=True)
    spectrum = scipy.fft.rfft(waveform, size)
    responses = np.stack([scipy.fft.rfft(f, size) for f in filters])
    result = scipy.fft.irfft(responses * spectrum, size)
    return result[:, direct : direct + len(waveform)]


def fade_out(length: int, fade: int) -> Samples:
    """Return gains of 1 that fall to 0 over the last `fade` samples."""
    window = np.ones(length, np.float32)
    fade = min(fade, length)
    if fade:
        window[-fade:] = np.linspace(1, 0, fade, dtype=np.float32)
    return window


@dataclass(frozen=True)
class Pack:
    """The responses of a pack: (N, T), and the length of each in samples."""

    responses: Samples
    lengths: NDArray[np.int64]
    sample_rate: int
    direct: int


def read_pack(path: Path) -> Pack:
    """Read a pack of room responses, see `Rooms`.

    Raises:
        InputError: arrays are missing, or their values do not fit together.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_PACK_BYTES:
            raise ValueError(f"it unpacks to {size} bytes, at most {MAX_PACK_BYTES} are read")
        with np.load(path, allow_pickle=False) as content:
            responses, lengths = content["rir"].astype(np.float32), content["length"].astype(np.int64)
            rate, direct = int(content["sample_rate"]), int(content["direct_sample"])
    except Exception as error:  # a damaged file can fail in numpy, zipfile and zlib in any way
        raise InputError(
            f"{path}: not a pack of room responses with rir, length, sample_rate and direct_sample ({error})"
        ) from error
    fits = responses.ndim == 2 and lengths.shape == (len(responses),) and 1000 <= rate <= 768_000
    if not fits or not np.isfinite(responses).all():
        raise InputError(
            f"{path}: rir must be finite numbers of two axes, with a length for each, and sample_rate 1000 to"
            f" 768000; found {responses.shape}, {lengths.shape} and {rate}"
        )
    if len(lengths) and not 0 <= direct < lengths.min() <= lengths.max() <= responses.shape[1]:
        raise InputError(
            f"{path}: a length must be at most {responses.shape[1]}, and direct_sample within it; found"
            f" lengths of {lengths.min()} to {lengths.max()} and direct_sample {direct}"
        )
    return Pack(responses, lengths, rate, direct)


def _read_pack(path: Path, sample_rate: int) -> list[Response]:
    try:
        pack = read_pack(path)
        found = []
        for i, (taps, length) in enumerate(zip(pack.responses, pack.lengths, strict=True)):
            cut = taps[:length]
            if pack.sample_rate != sample_rate:
                cut = soxr.resample(cut, pack.sample_rate, sample_rate)
            direct = pack.direct * sample_rate // pack.sample_rate
            found.append(_normalise(cut, direct, f"{path.name}[{i}]"))
        return found
    except InputError:
        raise
    except Exception as error:  # lengths and rates from outside can fail in numpy and soxr in any way
        raise InputError(
            f"{path}: not a pack of room responses ({error}): leave it out, or make it anew"
        ) from error


def _normalise(taps: Samples, direct: int, name: str) -> Response:
    # Resampling may move the peak by a sample: the direct sound is the largest of the nearest.
    first = max(0, direct - 1)
    direct = first + int(np.argmax(np.abs(taps[first : direct + 2])))
    if not np.abs(taps[direct]) > 0:
        raise InputError(f"the room response {name} is silent where its direct sound should be")
    return Response(np.ascontiguousarray(taps / taps[direct], dtype=np.float32), direct, name)
