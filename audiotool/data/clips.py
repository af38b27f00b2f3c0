"""Slices of recordings: every file of a set, mono, at one sample rate, from any sample on.

`DecodedClips` decodes each file once into one memory-mapped file of 16-bit samples; a slice then takes
microseconds. Each file is scaled to its own peak, so that quiet ones keep their resolution. `FileClips` reads
the files themselves, for corpora that are too large to be stored twice.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from audiotool.atomic import replacing
from audiotool.audio.mono import first_alone, mixing_weights, to_mono
from audiotool.audio.reader import excerpt, measure, read
from audiotool.cores import core_count
from audiotool.errors import InputError
from audiotool.progress import Progress
from audiotool.writable import cause

log = logging.getLogger(__name__)
Samples = NDArray[np.float32]
Targets = tuple[Path, ...]
"""The targets of the pair that a file belongs to, as input or target; none for a file of its own."""
MISSING_SECONDS = 0.1
"""What a file may hold less than its header says: MP3's headers count the delays of encoders."""
CONTEXT = 128  # samples of the lower rate before and after a slice: what soxr's filter reaches
WINDOW = 64  # decoded files that wait to be written: bounds memory

DECODING = 3
"""Version of the decoding: decoded files of another version are written again."""


class Unreadable(InputError):
    """A recording cannot be read: `path`; None where the message names it."""

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


class Clips(Protocol):
    """A set of recordings at one sample rate.

    Attributes:
        paths: the files, in the order of the index.
        lengths: (files,) samples at that rate; 0 for a file that cannot be used.
        unreadable: path -> why the file cannot be used.
    """

    paths: list[Path]
    lengths: NDArray[np.int64]
    unreadable: dict[str, str]

    def read(self, index: int, start: int, frames: int) -> Samples:
        """Return the samples [start, start + frames) of a file, (T,) float32; fewer at its end.

        Raises:
            Unreadable: the file cannot be read.
        """
        ...


def read_audio(path: Path, sample_rate: int, weigh: Callable[[Samples], Samples] | None = None) -> Samples:
    """Read a whole file, mixed to mono and resampled.

    Args:
        weigh: gives the weights (channels,) that mix several channels (channels, time); None mixes as in
            `audio.mono`.
    Raises:
        InputError: missing, not audio, empty, or holds values that are not finite.
    """
    samples, native = read(path)
    mono = _mono(samples, path, weigh(samples) if weigh and len(samples) > 1 else None)
    return mono if native == sample_rate else soxr.resample(mono, native, sample_rate).astype(np.float32)


def pair_weights(samples: Samples, targets: Targets) -> Samples:
    """Return the weights (channels,) that mix a file (channels, time) of a pair.

    All files of a pair are mixed alike, by weights that cancel no sound of its targets: mixed by a rule of
    its own, an input could lose what its target keeps. Targets of another number of channels decide nothing;
    without others the file's first channel is taken, which cancels nothing.

    Raises:
        InputError: a target cannot be read.
    """
    alike = [target for target, _ in map(read, targets) if len(target) == len(samples)]
    if not alike:
        return first_alone(samples)
    return mixing_weights(np.concatenate(alike, axis=1), str(targets[0]))


def _mono(samples: Samples, path: Path, weights: Samples | None = None) -> Samples:
    if not samples.size:
        raise Unreadable(f"{path}: holds no samples", path)
    mono = to_mono(samples, str(path)) if weights is None else weights @ samples
    # The sum is finite only if every sample is, and costs less than a test of each.
    if not np.isfinite(mono.sum()):
        raise Unreadable(f"{path}: holds values that are not finite (NaN or infinity)", path)
    return np.ascontiguousarray(mono)


class FileClips:
    """Read slices from the files themselves; lengths come from their headers.

    Args:
        targets: of each file; empty for files of their own.
    """

    def __init__(self, paths: Sequence[Path], sample_rate: int, targets: Sequence[Targets] = ()) -> None:
        self.paths = list(paths)
        self.sample_rate = sample_rate
        self._targets = list(targets)
        self._weights: dict[int, Samples] = {}
        self.unreadable: dict[str, str] = {}
        self.lengths = np.zeros(len(self.paths), dtype=np.int64)
        self._rates = np.zeros(len(self.paths), dtype=np.int64)
        for i, path in enumerate(self.paths):
            try:
                info = measure(path)
                self._rates[i] = info.sample_rate
                # Rounded as soxr does, so that files have the length that they have when they are decoded.
                self.lengths[i] = int((info.frames or 0) * sample_rate / info.sample_rate + 0.5)
            except InputError as error:
                self.unreadable[str(path)] = str(error)

    def read(self, index: int, start: int, frames: int) -> Samples:
        path = self.paths[index]
        native, rate = int(self._rates[index]), self.sample_rate
        common = math.gcd(native, rate)
        period, native_period = rate // common, native // common
        # Where a period begins, both rates have a sample: from there on a part is resampled as the file is.
        context = 0 if native == rate else CONTEXT * period // min(period, native_period)
        periods = max(0, start - context) // period
        ahead = start - periods * period
        try:
            samples = excerpt(path, periods * native_period, -(-(ahead + frames + context) * native // rate))
            weights = self._weights_of(index) if self._targets and len(samples) > 1 else None
        except InputError as error:
            raise Unreadable(str(error), path) from error
        mono = _mono(samples, path, weights)
        if native != rate:
            mono = soxr.resample(mono, native, rate).astype(np.float32)
        mono = mono[ahead : ahead + frames]
        missing = min(frames, int(self.lengths[index]) - start) - len(mono)
        if missing > MISSING_SECONDS * rate:
            raise Unreadable(f"{path} ends before its header says: it is cut; leave it out", path)
        return np.pad(mono, (0, max(missing, 0)))

    def _weights_of(self, index: int) -> Samples:
        """Return the weights of a pair's file, which are those of every slice."""
        if index not in self._weights:
            self._weights[index] = pair_weights(read(self.paths[index])[0], self._targets[index])
        return self._weights[index]


class DecodedClips:
    """Slices of one file of decoded samples, which is written at first use.

    It is written again when a file has changed, or when one that could not be read can be.

    Args:
        paths: audio files.
        sample_rate: Hz to which they are resampled.
        folder: folder of the decoded file, whose name depends on its content, so that recipes share it.
        progress: called while decoding.
        targets: of each file; empty for files of their own.
    Raises:
        InputError: the folder cannot be written or is full.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        sample_rate: int,
        folder: Path,
        progress: Progress | None = None,
        targets: Sequence[Targets] = (),
    ) -> None:
        self.paths = list(paths)
        self._sample_rate = sample_rate
        self._targets = list(targets) or [()] * len(self.paths)
        # What a file becomes depends on its targets, too.
        fingerprint = _fingerprint([*self.paths, *(t for of_file in targets for t in of_file)], sample_rate)
        stem = folder / f"{fingerprint}-{sample_rate}"
        self._samples_path, self._index_path = stem.with_suffix(".pcm"), stem.with_suffix(".npz")
        if not self._usable():
            self._decode(progress)
        self._open()

    def _usable(self) -> bool:
        try:
            with np.load(self._index_path) as index:
                complete = self._samples_path.stat().st_size == 2 * int(index["offsets"][-1])
                unreadable = list(json.loads(str(index["unreadable"])))
        except Exception:  # a damaged file can fail in numpy, zipfile and zlib in any way
            return False
        # What kept a file from being read may be gone: a permission, a missing package, a share not mounted.
        return complete and all(
            isinstance(_decoded(path, targets, self._sample_rate), str)
            for path, targets in zip(self.paths, self._targets, strict=True)
            if str(path) in unreadable
        )

    def _open(self) -> None:
        with np.load(self._index_path) as index:
            self._offsets: NDArray[np.int64] = index["offsets"]
            self._scales: Samples = index["scales"]
            self.unreadable: dict[str, str] = json.loads(str(index["unreadable"]))
        self.lengths = np.diff(self._offsets)
        empty = not self._offsets[-1]
        self._samples: NDArray[np.int16] = (
            np.zeros(0, np.int16) if empty else np.memmap(self._samples_path, dtype=np.int16, mode="r")
        )

    def __getstate__(self) -> dict[str, object]:
        # A memory map would be pickled sample by sample, so each loader process opens the file itself.
        return {"paths": self.paths, "_samples_path": self._samples_path, "_index_path": self._index_path}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._open()

    def read(self, index: int, start: int, frames: int) -> Samples:
        begin = self._offsets[index] + start
        end = min(begin + frames, self._offsets[index + 1])
        return self._samples[begin:end] * self._scales[index]

    def _decode(self, progress: Progress | None) -> None:
        log.info(
            "decoding %d files at %d Hz into %s (once)",
            *(len(self.paths), self._sample_rate, self._samples_path),
        )
        try:
            with replacing(self._samples_path) as file:
                lengths, scales, unreadable = self._write_samples(file, progress)
            offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
            # The index is written last: the samples that it describes are complete when it appears.
            with replacing(self._index_path) as file:
                np.savez(
                    file,
                    offsets=offsets,
                    scales=np.asarray(scales, np.float32),
                    unreadable=json.dumps(unreadable),
                )
        except OSError as error:
            raise InputError(
                f"cannot keep decoded audio in {self._samples_path.parent} ({cause(error)}): name another"
                " folder with data.cache, or set data.decode_once to false"
            ) from error

    def _write_samples(
        self, file: IO[bytes], progress: Progress | None
    ) -> tuple[list[int], list[float], dict[str, str]]:
        lengths: list[int] = []
        scales: list[float] = []
        unreadable: dict[str, str] = {}
        results = _decode_all(self.paths, self._targets, self._sample_rate)
        for done, (path, result) in enumerate(results, start=1):
            if isinstance(result, str):
                unreadable[str(path)] = result
                lengths.append(0)
                scales.append(1.0)
            else:
                peak = max(float(np.abs(result).max()), 1e-9)
                file.write(np.round(result * (32767.0 / peak)).astype("<i2").tobytes())
                lengths.append(len(result))
                scales.append(peak / 32767.0)
            if progress:
                progress(done, len(self.paths))
        return lengths, scales, unreadable


def _decoded(path: Path, targets: Targets, sample_rate: int) -> Samples | str:
    """Return a file's samples, or why it cannot be used."""
    try:
        return read_audio(path, sample_rate, partial(pair_weights, targets=targets) if targets else None)
    except InputError as error:
        return str(error)


def _decode_all(
    paths: Sequence[Path], targets: Sequence[Targets], sample_rate: int
) -> Iterator[tuple[Path, Samples | str]]:
    """Decode in threads (libsndfile and soxr release the GIL), in order, a few files ahead."""
    remaining = zip(paths, targets, strict=True)
    with ThreadPoolExecutor(core_count()) as pool:
        while window := list(islice(remaining, WINDOW)):
            results = pool.map(lambda file: _decoded(file[0], file[1], sample_rate), window)
            yield from zip((path for path, _ in window), results, strict=True)


def _fingerprint(paths: Sequence[Path], sample_rate: int) -> str:
    """Return a hash that changes when a file is added, removed, resized or modified, or the decoding
    changes."""
    digest = hashlib.sha256(f"{DECODING} {sample_rate}".encode())
    for path in paths:
        try:
            status = path.stat()
            digest.update(
                f"\n{path}\t{status.st_size}\t{status.st_mtime_ns}".encode(errors="surrogateescape")
            )
        except OSError:
            digest.update(f"\n{path}\tmissing".encode(errors="surrogateescape"))
    return digest.hexdigest()[:24]
