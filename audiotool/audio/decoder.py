"""Choose the decoder of a file that can seek: libsndfile, from the first frame of an MP3 on, or PyAV."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO

import soundfile

from audiotool.audio import concatenated, mp3
from audiotool.audio.formats import WAVES, has_pyav, is_media_name
from audiotool.audio.forward import ForwardFile
from audiotool.audio.magic import ARRAY_BYTES, RIFF, kind_of
from audiotool.audio.opening import explain
from audiotool.audio.unclosed import bytes_behind, remark_on_more
from audiotool.errors import InputError
from audiotool.signals import deferred

if TYPE_CHECKING:
    from audiotool.audio.media import MediaFile


def decoder_of(
    file: BinaryIO,
    name: str,
    form: Mapping[str, Any] = MappingProxyType({}),
    remarks: Iterable[str] = (),
) -> tuple[ForwardFile | MediaFile, Any]:
    """Return the decoder of a file, and the file as the decoder reads it.

    Args:
        file: open for reading; it can seek.
        name: name in messages.
        form: as of `ForwardFile`.
        remarks: what is known of the file already, for the user.
    Raises:
        InputError: no decoder can read it.
    """
    another = concatenated.kind_behind(file)
    found, source = _decoder(_Seekable(file), name, form)
    found.warnings += remarks
    if another is not None:
        found.warnings.append(concatenated.remark(name, another))
    elif found.format in WAVES:
        found.warnings += _more(found, source, name)
    return found, source


def _decoder(source: Any, name: str, form: Mapping[str, Any]) -> tuple[ForwardFile | MediaFile, Any]:
    try:
        file = ForwardFile(source, form)
    except Exception as error:
        # PyAV may know a header that libsndfile refuses.
        return _from_first_frame(source, name) or (_by_pyav(source, name, error), source)
    if file.format != "MP3":
        return file, source
    return _from_first_frame(source, name, file) or (file, source)


def _from_first_frame(
    source: Any, name: str, file: ForwardFile | None = None
) -> tuple[ForwardFile, mp3.Frames] | None:
    """Open an MP3 at its first frame, without a size that would pass for its length.

    Args:
        file: as libsndfile reads it from its beginning, if it does.
    Returns:
        None if it is no MP3, or nothing would be gained.
    """
    lead = mp3.lead(source) if file is not None or _may_be_mp3(source, name) else None
    if lead is None and file is None:
        return None
    frames = mp3.Frames(source, 0 if lead is None else lead.begin)
    if file is not None and frames.is_sized and (lead is None or lead.is_usual):
        return None
    # A decoder that cannot count leaves the estimate.
    with contextlib.suppress(soundfile.LibsndfileError):
        frames.seek(0)
        found = ForwardFile(frames)
        found.whole = source
        of_lead = {tag: values[0] for tag, values in found.extras.tags().items()}
        found.tags = of_lead if file is None else file.copy_metadata()
        if lead is not None and lead.strays:
            found.warnings.append(f"{name} {lead.strays}")
        return found, frames
    return None


def _may_be_mp3(source: Any, name: str) -> bool:
    """Whether neither name nor first bytes say that frames of an MP3 are those of another container."""
    source.seek(0)
    start = source.read(ARRAY_BYTES)
    return not (kind_of(start) or start.startswith(RIFF) or is_media_name(name))


def _by_pyav(source: Any, name: str, refusal: Exception) -> MediaFile:
    """Open a file that libsndfile cannot read, by PyAV.

    Raises:
        InputError: PyAV is not installed, or cannot read the file either.
    """
    source.seek(0)
    start = source.read(ARRAY_BYTES)
    if not has_pyav():
        source.close()
        raise InputError(explain(name, refusal, start)) from refusal
    from audiotool.audio.media import MediaFile, UnknownFormat

    source.seek(0)
    try:
        with deferred():
            return MediaFile(source, name)
    except UnknownFormat as error:
        reason = error if is_media_name(name) else refusal
        raise InputError(explain(name, reason, start)) from error


def _more(file: ForwardFile | MediaFile, source: Any, name: str) -> list[str]:
    """Return the remark on what may be samples behind the end that a WAV's header names, if any."""
    more, width = bytes_behind(source)
    if not more:
        return []
    rate = file.samplerate
    duration = f" ({more / width / rate:.2f} s)" if width else ""
    what = f"{more} bytes{duration} that follow are left out"
    return [remark_on_more(name, (file.frames or 0) / rate, what)]


class _Seekable:
    """A file in which an invalid seek does nothing.

    Damaged headers make libraries seek to before the beginning. soundfile and PyAV would print the error's
    traceback.

    Args:
        file: open for reading; it can seek.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Seek, and return the position."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return self._file.tell()
