"""Opening a file for reading: what it is, and why it cannot be read, in words."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from audiotool.audio import STANDARD_INPUT
from audiotool.audio.formats import (
    AMBIGUOUS_ENDINGS,
    BARE_ENDINGS,
    FORMATS,
    INSTALL_PYAV,
    MEDIA_ENDINGS,
    MEL_ENDINGS,
    has_pyav,
    is_bare_name,
    is_media_name,
    needs_media,
)
from audiotool.audio.magic import KIND_BYTES, array_ending, kind_of
from audiotool.audio.unclosed import corrected
from audiotool.errors import InputError
from audiotool.paths import absence
from audiotool.text import encodable

if TYPE_CHECKING:
    from audiotool.audio.raw import Raw

TENSOR_ENDINGS = (".pt", ".pth")
"""Name endings of PyTorch's files: checkpoints, or mel spectrograms of other projects."""


def opened(path: Path) -> BinaryIO:
    """Open a file for libsndfile, with the sizes in its header corrected.

    Raises:
        InputError: the file does not exist, or may not be read.
    """
    _check_readable(path)
    try:
        return corrected(path.open("rb"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def bare_format(file: BinaryIO, name: str, path: Path, raw: Raw) -> tuple[Raw | None, list[str]]:
    """Return the format of a file of bare samples, None for one with a header; and remarks where the user
    says something else.

    A header and an unambiguous ending know better than an option that holds for all files of a folder.

    Args:
        file: open for reading; it is left at its beginning.
        name: name in messages.
        raw: what the user says.
    """
    if not is_bare_name(path):
        return None, []
    ending = path.suffix.lower()
    kind = kind_of(file.read(KIND_BYTES))
    file.seek(0)
    known = raw.encoding if ending in AMBIGUOUS_ENDINGS else BARE_ENDINGS[ending]
    anyway = f"; a pipe is read as {raw.encoding}: `- < FILE`"
    if kind is not None:
        return None, [
            f"{name} is a file with a header, {kind}, and is read as such, not as bare samples{anyway}"
        ]
    if known != raw.encoding:
        return replace(raw, encoding=known), [f"{name} is read as {known}, as its name says{anyway}"]
    return raw, []


def _check_readable(path: Path) -> None:
    reason = absence(path)
    if reason is not None:
        is_utf_8 = encodable(str(path)) == str(path)
        hint = "" if is_utf_8 else ". Its name is not UTF-8: is the list or manifest that names it?"
        raise InputError(f"{path}: {reason}{hint}")
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder, not a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: no permission to read it")
    if os.path.isfile(path) and not path.stat().st_size:
        raise InputError(f"{path} is empty")


def explain(name: str, error: Any, start: bytes) -> str:
    """Return why a file is no audio that can be read, and what to do, in words.

    Args:
        name: the file's name in messages.
        error: libsndfile's or PyAV's.
        start: the file's first `ARRAY_BYTES` bytes.
    """
    if (arrays := array_ending(start)) is not None:
        return (
            f"{name} holds arrays ({arrays}), not audio; a mel comes from a file of that ending: give its"
            " path to `audiotool vocode`"
        )
    if Path(name).suffix.lower() in TENSOR_ENDINGS:
        return (
            f"{name} cannot be read as audio: it is named as what PyTorch saves. A checkpoint is given with"
            f" --checkpoint; a mel spectrogram is read from {', '.join(MEL_ENDINGS)}, for example after"
            " `numpy.save('mel.npy', torch.load('mel.pt').numpy())`"
        )
    if needs_media(name):
        return (
            f"{name} is read by PyAV, which is not installed: `{INSTALL_PYAV}`, or convert it first, for"
            " example `ffmpeg -i IN OUT.wav`"
        )
    reason = getattr(error, "error_string", str(error)).rstrip(".")
    refused = f"{name} cannot be read as audio ({reason})"
    ending = Path(name).suffix.lower()
    if ending in FORMATS or is_media_name(name):
        return (
            f"{refused}: it is damaged, of another coding, or not what its name says;"
            " `ffmpeg -i IN OUT.wav` may convert it"
        )
    if ending in BARE_ENDINGS or name == STANDARD_INPUT:
        encoding = BARE_ENDINGS.get(ending, "mulaw")
        named = "- " if name == STANDARD_INPUT else f"{shlex.quote(name)} "
        return (
            f"{refused}; bare samples need their format and rate: `{named}--raw {encoding} --raw-rate 8000`"
        )
    also = [ending[1:].upper() for ending in MEDIA_ENDINGS if has_pyav()]
    readable = sorted({*FORMATS.values(), *also})
    return (
        f"{refused}: readable are {', '.join(readable)};"
        " convert anything else first, for example `ffmpeg -i IN OUT.wav`"
    )
