"""Write files of libsndfile's formats in blocks."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiotool.audio import speakers, vorbis_order
from audiotool.audio.embed import embed, tag_parts
from audiotool.audio.extras import Extras, holds_mask
from audiotool.audio.formats import (
    COMPANDED,
    INTEGER_BITS,
    OPUS_RATES,
    SAMPLE_BYTES,
    coding_for,
    compression_level,
    has_bitrate,
    subtypes_of,
)
from audiotool.audio.forward import Damaged, ForwardFile
from audiotool.audio.levels import FloatBlock, limit, quantise
from audiotool.audio.long_wav import container_for, make_wav
from audiotool.audio.writer import OutputFormat, ReplacingWriter
from audiotool.errors import InputError
from audiotool.signals import deferred
from audiotool.writable import refusal, shortage

WRITE_FRAMES = 1 << 15
"""Number of frames that libsndfile gets at a time: its Vorbis encoder overflows the stack with larger
blocks."""

SCRATCH_MARGIN = 1 << 20
"""Number of bytes that must stay free where libsndfile puts coded samples aside."""

Form = tuple[str, str, int, int]
"""Container, sample format, sample rate in Hz and channels of a file."""

GSM_FRAMES = 160
"""Samples of a block of GSM 06.10; WAV has two in one."""

LOUDEST_MP3 = 100.0
"""Greatest absolute sample for LAME: at the lowest bit rate a sine of 1000 ends the process."""

PACKED = ("PAF", "PCM_24")
"""Container and sample format of samples that lie in blocks."""

CODED = ("FLAC",)
"""Containers that code every sample format."""


class FileWriter(ReplacingWriter):
    """A file of a format of libsndfile.

    Args:
        path: path of the output.
        wanted: its format; `dropped` names the extras that the container cannot hold.
    Raises:
        InputError: the file cannot be written, or format, subtype, sample rate and length do not fit.
    """

    # soundfile asserts that everything was written, which fails on a full disk.
    failures = (soundfile.LibsndfileError, Damaged, AssertionError, OSError)

    def __init__(self, path: str | Path, wanted: OutputFormat) -> None:
        super().__init__(path)
        sample_rate, channels = wanted.sample_rate, wanted.channels
        self.format, self.subtype = coding_for(
            self.path, wanted.asked_format, wanted.subtype, wanted.asked_subtype
        )
        if self.subtype == "OPUS" and sample_rate not in OPUS_RATES:
            raise InputError(
                f"Opus holds {', '.join(map(str, OPUS_RATES))} Hz, not {sample_rate}:"
                " resample it, or choose another ending or format"
            )
        self.recoded = wanted.recoding(self.format, self.subtype)
        self._take({} if wanted.is_like_input(self.format) else wanted.tags, wanted.extras, channels)
        container = self._container(channels, wanted.frames)
        if self._mask and container == "WAV":
            container = "WAVEX"
        # A file of unknown length begins as RF64 and becomes a WAV at the end if it is short enough.
        self._may_be_wav = wanted.frames is None and container == "RF64" != self.format
        self._form = (container, self.subtype, sample_rate, channels)
        self._coding = _coding(self.format, self.subtype, wanted)
        with contextlib.ExitStack() as undone:
            self._begin()
            undone.callback(self._replacement.discard)
            self._check_scratch(wanted.frames or 0, wanted.frames or 0)
            self._file = self._opened()
            _set_tags(self._file, self._tags)
            undone.pop_all()

    def _container(self, channels: int, frames: int | None) -> str:
        """Return the container for a number of samples a channel, or for an unknown one.

        Raises:
            InputError: the format does not hold so many.
        """
        return container_for(self.format, self.subtype, channels, frames, self._beside)

    @property
    def _beside(self) -> int:
        """Number of bytes beside the samples."""
        return sum(len(part.data) for part in self._parts)

    def _opened(self) -> soundfile.SoundFile:
        """Return libsndfile's view of the replacement.

        Raises:
            InputError: the container does not hold the format, or the disk is full.
        """
        container, subtype, sample_rate, channels = self._form
        descriptor = self._replacement.file.fileno()
        try:
            # Through Python's file object, an interrupt in one of libsndfile's calls would be lost.
            return soundfile.SoundFile(
                descriptor,
                "w",
                sample_rate,
                channels,
                subtype,
                format=container,
                closefd=False,
                **self._coding,
            )
        except (soundfile.LibsndfileError, ValueError) as error:
            reason = refusal(self._replacement.file) or (
                f"{self.format}/{subtype} does not hold {channels} channels at {sample_rate} Hz"
                f" ({getattr(error, 'error_string', error)})"
            )
            raise InputError(f"cannot write {self.path}: {reason}") from error

    def _check_scratch(self, more: int, frames: int) -> None:
        """Check that libsndfile's temporary file can grow: a write into it that fails ends the process.

        ALAC alone has one, of all coded samples.

        Args:
            more: samples a channel that will be written.
            frames: samples a channel that are written then.
        Raises:
            InputError: it cannot.
        """
        if not self.subtype.startswith("ALAC"):
            return
        width = int(self.subtype.removeprefix("ALAC_")) // 8 * self._form[3]
        folder = _scratch_folder()
        reason = shortage(folder, more * width + SCRATCH_MARGIN, frames * width)
        if reason is not None:
            raise InputError(
                f"cannot write {self.path}: ALAC is put aside in {folder}, and there {reason}: set TMPDIR to"
                " another folder, or choose .flac"
            )

    def _take(self, tags: Mapping[str, str], extras: Extras, channels: int) -> None:
        """Decide which tags libsndfile writes, and which are in the parts already."""
        self._parts, self.dropped = extras.split(self.format, channels)
        self._mask = extras.mask if holds_mask(self.format) else 0
        if self._mask and self.subtype not in subtypes_of("WAVEX"):
            self.dropped += speakers.lost(self._mask, channels)
            self._mask = 0
        self._tags = dict(tags)
        if self._tags and self.format in ("MP3", "AIFF"):
            # libsndfile writes only a few tags to these containers, and cuts some.
            self._parts += tag_parts(self.format, self._tags, self._parts)
            self.dropped += Extras(parts=tuple(self._parts)).missing(self._tags)
            self._tags = {}

    def _put(self, block: FloatBlock) -> None:
        data: NDArray[np.generic] = vorbis_order.as_vorbis(
            block, vorbis_order.places(self.subtype, block.shape[1])
        )
        if self.subtype in INTEGER_BITS:
            data, beyond = quantise(block, INTEGER_BITS[self.subtype])
            self.limited += beyond
        elif self.subtype in COMPANDED:
            data, beyond = limit(block)
            self.limited += beyond
        try:
            if self.format == "MP3" and self.peak > LOUDEST_MP3:
                raise InputError(
                    f"cannot write {self.path}: MP3 does not hold a peak of {self.peak:g}: choose .wav"
                )
            self._check_scratch(len(block), self.frames)
            self._container(self._form[3], self.frames)
            with self._writing():
                for start in range(0, len(data), WRITE_FRAMES):
                    self._file.write(data[start : start + WRITE_FRAMES])
        except InputError:
            # Plain samples can be committed up to here; of other codings `prepare` fails, too.
            self.frames -= len(block)
            with contextlib.suppress(soundfile.LibsndfileError):
                self._file.truncate(self.frames)
            raise

    def _finish(self) -> None:
        with self._writing():
            self._fill_last_block()
            self._file.close()
            self._check_written()
            file = self._replacement.file
            if self._may_be_wav:
                make_wav(file, self._beside, has_speakers=self._mask != 0)
            embed(file, self.format, self._parts, self._mask)

    def close(self) -> None:
        # The output is discarded, so errors at its end are ignored.
        with contextlib.suppress(soundfile.LibsndfileError):
            self._file.close()
        self._replacement.discard()

    @property
    def _is_block_coded(self) -> bool:
        """Whether the sample format has blocks of a fixed number of samples and bytes."""
        return (self.subtype in COMPANDED and self.subtype not in SAMPLE_BYTES) or self._form[:2] == PACKED

    def _fill_last_block(self) -> None:
        """Fill the last block with silence: codecs do so at closing, without checking for a full disk."""
        if self._is_block_coded:
            self.filling = -self.frames % _block_frames(self._form)
            self._file.write(np.zeros((self.filling, self._file.channels), np.float32))

    def _check_written(self) -> None:
        """Read the file back, because libsndfile does not report that the end of a file did not fit the disk.

        The header has the number of plain samples. Coded samples are decoded. The bytes of a file of blocks
        are counted, because decoders take an incomplete block for a whole one.

        Raises:
            OSError: samples are missing.
        """
        self._replacement.file.seek(0)
        # A seek between two blocks would cost the decoder of MP3 bits of earlier frames.
        with ForwardFile(self._replacement.file) as file:
            is_plain = self.subtype in SAMPLE_BYTES and file.format not in CODED and not self._is_block_coded
            found = file.frames if is_plain else _decoded_frames(file)
            self.dropped += [name for name in self._tags if name not in file.copy_metadata()]
        # Block codecs fill their last block with silence.
        if found < self.frames:
            raise OSError(f"{found} of {self.frames} samples arrived on the disk")
        if self._is_block_coded and self.frames:
            size = os.fstat(self._replacement.file.fileno()).st_size
            expected = _file_size(self._form, self._tags, self.frames)
            if size < expected:
                raise OSError(f"{size} of {expected} bytes arrived on the disk")


def _scratch_folder() -> str:
    """Return the folder of libsndfile's temporary files, which it does not choose as Python does."""
    if sys.platform == "win32":
        return tempfile.gettempdir()
    folder = os.environ.get("TMPDIR", "/tmp")
    return folder if os.access(folder, os.R_OK | os.W_OK | os.X_OK) else "/tmp"


def _coding(format_name: str, subtype: str, wanted: OutputFormat) -> dict[str, Any]:
    """Return soundfile's options that set the bit rate, none where there is none.

    Raises:
        InputError: the coding has not this bit rate.
    """
    if wanted.bitrate is None or not has_bitrate(format_name, subtype):
        return {}
    level = compression_level(format_name, subtype, wanted.sample_rate, wanted.channels, wanted.bitrate)
    mode = {"bitrate_mode": "CONSTANT"} if format_name == "MP3" else {}
    return {"compression_level": level, **mode}


def _block_frames(form: Form) -> int:
    """Return the number of samples of which a file's length is a multiple; 1 if its header has the exact
    length."""
    memory = _in_memory(form, {}, 1)
    return int(soundfile.info(memory).frames)


def _file_size(form: Form, tags: Mapping[str, str], frames: int) -> int:
    """Return the size in bytes of a file of so many samples in blocks of fixed size."""
    block = max(_block_frames(form), GSM_FRAMES if form[1] == "GSM610" else 1)
    blocks = -(-frames // block)
    # Containers pad an odd number of bytes. Two more blocks always add the same number of bytes.
    few = 2 - blocks % 2
    less, more = (len(_in_memory(form, tags, n * block).getbuffer()) for n in (few, few + 2))
    return less + (blocks - few) // 2 * (more - less)


def _in_memory(form: Form, tags: Mapping[str, str], frames: int) -> io.BytesIO:
    """Return a file of silence in memory, at its beginning."""
    container, subtype, sample_rate, channels = form
    memory = io.BytesIO()
    with (
        deferred(),
        soundfile.SoundFile(memory, "w", sample_rate, channels, subtype, format=container) as file,
    ):
        _set_tags(file, tags)
        file.write(np.zeros((frames, channels), np.float32))
    memory.seek(0)
    return memory


def _set_tags(file: soundfile.SoundFile, tags: Mapping[str, str]) -> None:
    for name, text in tags.items():
        with contextlib.suppress(soundfile.LibsndfileError):
            setattr(file, name, text)


def _decoded_frames(file: ForwardFile) -> int:
    frames = 0
    while count := len(file.read(WRITE_FRAMES)):
        frames += count
    return frames
