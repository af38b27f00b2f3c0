"""The interface of the writers of blocks, and files that appear only when they are complete."""

from __future__ import annotations

import contextlib
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import numpy as np

from audiotool.atomic import Replacement
from audiotool.audio.extras import Extras, family_of
from audiotool.audio.formats import UNLIMITED
from audiotool.audio.levels import FloatBlock
from audiotool.errors import InputError
from audiotool.writable import as_input_error, cause, check_writable, refusal


class OutputFormat(NamedTuple):
    """Format of an output, of its input's and the user's wishes.

    Args:
        sample_rate: Hz.
        channels: 1 or more.
        subtype: preferred sample format (the input's), kept where the container holds it.
        asked_format, asked_subtype: the user's options; None follows the name's ending and `subtype`.
        frames: samples a channel, if known: a WAV of 4 GiB or more becomes an RF64, and the header of a pipe
            cannot be corrected later.
        tags: title, artist and others.
        extras: the input's extras.
        bitrate: kbit/s of an MP3, Opus or AAC; None is the encoder's usual one. Other formats have none.
        video: path of the input if PyAV reads it: its pictures are copied where the output holds them.
    """

    sample_rate: int
    channels: int
    subtype: str = "PCM_16"
    asked_format: str | None = None
    asked_subtype: str | None = None
    frames: int | None = None
    tags: Mapping[str, str] = MappingProxyType({})
    extras: Extras = Extras()
    bitrate: float | None = None
    video: Path | None = None

    def is_like_input(self, format_name: str) -> bool:
        """Whether a format of libsndfile's is of the input's family (`extras.FAMILIES`)."""
        return self.extras.family == family_of(format_name) != ""

    def recoding(self, format_name: str, subtype: str) -> str:
        """Return the remark that an output like the input has another subtype unasked; "" if it has not."""
        if self.asked_subtype is not None or subtype == self.subtype or not self.is_like_input(format_name):
            return ""
        return f"{self.subtype} in {format_name} is only read: {subtype} is written"


class Writer(ABC):
    """Base class of writers of blocks.

    Attributes:
        name: what messages call the output, its path as written; `commit` may choose another.
        model: what messages call the model whose output is written.
        replaces: whether a file that has appeared under the output's name is replaced; if not, the output
            gets a free name beside it.
        dropped: names of the input's extras that the output cannot hold; complete after `prepare`.
        frames: number of samples a channel so far.
        peak: greatest absolute sample before limiting.
        limited: number of samples beyond full scale that an integer format could not hold.
        filling: number of silent samples that fill the last block of a coding; complete after `prepare`.
        resampled: remark for the user where the coding has not the sample rate that was wanted, else "".
        recoded: the same where an output of the input's container, or a pipe, has not the input's coding.
    """

    name: str
    subtype: str
    model: str = "the model"
    replaces: bool = True

    def __init__(self) -> None:
        self.dropped: list[str] = []
        self.frames = 0
        self.peak = 0.0
        self.limited = 0
        self.filling = 0
        self.resampled = self.recoded = ""
        self._prepared = False

    def write(self, block: FloatBlock) -> None:
        """Append (n, channels).

        Raises:
            InputError: the disk is full, the place cannot be written, or the samples are not finite.
        """
        if not len(block):
            return
        peak = float(np.abs(block).max())
        if not math.isfinite(peak):
            raise InputError(
                f"cannot write {self.name}: {self.model} answered with NaN or infinity after sample"
                f" {self.frames}; is the input far beyond full scale?"
            )
        self.peak = max(self.peak, peak)
        self.frames += len(block)
        self._put(block)

    @abstractmethod
    def _put(self, block: FloatBlock) -> None: ...

    @property
    def excess(self) -> str:
        """Remark for the user that players will limit samples, else ""; complete after `prepare`."""
        if self.peak <= 1 or self.limited or self.subtype not in UNLIMITED:
            return ""
        coding = _coding_name(self.subtype)
        return (
            f"the peak, {self.peak:.3f}, is beyond full scale: {coding} keeps it, but most players limit it"
        )

    def prepare(self) -> None:
        """Finish the output: do everything that may fail before `commit`. A second call does nothing.

        Raises:
            InputError: the disk is full.
        """
        if not self._prepared:
            self._finish()
            self._prepared = True

    @abstractmethod
    def _finish(self) -> None: ...

    @abstractmethod
    def commit(self) -> None:
        """Give the complete output its name.

        Raises:
            InputError: the disk is full, or the folder can no longer be written.
        """

    @abstractmethod
    def close(self) -> None:
        """Close all files; an output that was not committed is removed."""

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.close()


class ReplacingWriter(Writer):
    """A file that appears under its name when it is complete.

    Args:
        path: path of the output; its folder is created if needed.
    Class attributes:
        failures: the errors by which the library says that a file cannot be written.
    Raises:
        InputError: the file cannot be written.
    """

    failures: ClassVar[tuple[type[Exception], ...]]

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self.name = str(path)
        check_writable(self.path)

    def _begin(self) -> None:
        """Open the file, after everything that can be checked without it."""
        with as_input_error(self.path):
            self._replacement = Replacement(self.path)

    def commit(self) -> None:
        self.prepare()
        place = self._replacement.path
        with self._writing():
            self._replacement.commit(self.replaces)
        if self._replacement.path != place:
            self.path = self._replacement.path
            self.name = str(self.path)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Raise an `InputError` in place of one of `failures`; it says why the disk takes no more."""
        try:
            yield
        except self.failures as error:
            if isinstance(error, OSError) and error.errno:
                reason = cause(error)
            else:
                reason = refusal(self._replacement.file) or str(error) or "not all samples were written"
            kept = "; an earlier file of that name is untouched" if os.path.lexists(self.path) else ""
            raise InputError(f"cannot write {self.path}: {reason}{kept}") from error


def resampling(subtype: str, sample_rate: int, coded_rate: int) -> str:
    """Return the remark that a coding has not the sample rate in Hz that was wanted; "" if it has."""
    if coded_rate == sample_rate:
        return ""
    return f"{_coding_name(subtype)} has no {sample_rate} Hz: the output is resampled to {coded_rate} Hz"


def _coding_name(subtype: str) -> str:
    return "MP3" if subtype == "MPEG_LAYER_III" else subtype
