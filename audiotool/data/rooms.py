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

from audiotool.audio.mono import first_alone
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

    Attributes:
        responses: those that can be used.
        unreadable: path -> why a file, or one response of a pack, cannot be used.

    Args:
        paths: audio files with one response each (of several channels the first that sounds; its largest peak
            is the direct sound), or `.npz` packs with `rir` (N, T), `length` (N,), `sample_rate` and
            `direct_sample`.
        sample_rate: Hz to which they are resampled.
    Raises:
        InputError: there are files, and no response of them can be used.
    """

    def __init__(self, paths: Sequence[Path], sample_rate: int) -> None:
        self.paths = list(paths)
        self.sample_rate = sample_rate
        self.responses: list[Response] = []
        self.unreadable: dict[str, str] = {}
        for path in paths:
            try:
                self._add(path)
            except InputError as error:
                self.unreadable[str(path)] = str(error)
        if self.paths and not self.responses:
            reason = next(iter(self.unreadable.values()), "they hold none")
            raise InputError(f"data.rir: none of the {len(self.paths)} files can be used: {reason}")

    def _add(self, path: Path) -> None:
        if path.suffix == ".npz":
            found = _read_pack(path, self.sample_rate)
        else:
            # A mean of several microphones is the sound of no place in the room.
            taps = read_audio(path, self.sample_rate, first_alone)
            found = {"": (taps, int(np.argmax(np.abs(taps))))}
        for place, (taps, direct) in found.items():
            response = _normalised(taps, direct, f"{path.name}{place}")
            if response is None:
                of_file = f"{path}{place}"
                self.unreadable[of_file] = f"{of_file}: silent where its direct sound should be"
            else:
                self.responses.append(response)

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


def _read_pack(path: Path, sample_rate: int) -> dict[str, tuple[Samples, int]]:
    """Return each response of a pack and the sample of its direct sound, by its place: "[0]"."""
    try:
        pack = read_pack(path)
        found = {}
        for i, (taps, length) in enumerate(zip(pack.responses, pack.lengths, strict=True)):
            cut = taps[:length]
            if pack.sample_rate != sample_rate:
                cut = soxr.resample(cut, pack.sample_rate, sample_rate)
            found[f"[{i}]"] = cut, pack.direct * sample_rate // pack.sample_rate
        return found
    except InputError:
        raise
    except Exception as error:  # lengths and rates from outside can fail in numpy and soxr in any way
        raise InputError(
            f"{path}: not a pack of room responses ({error}): leave it out, or make it anew"
        ) from error


def _normalised(taps: Samples, direct: int, name: str) -> Response | None:
    """Return a response whose direct sound is 1; None where that is silent."""
    # Resampling may move the peak by a sample: the direct sound is the largest of the nearest.
    first = max(0, direct - 1)
    nearest = np.abs(taps[first : direct + 2])
    if not nearest.any():
        return None
    direct = first + int(np.argmax(nearest))
    return Response(np.ascontiguousarray(taps / taps[direct], dtype=np.float32), direct, name)
