"""Insert parts of another file (`audio.extras`) into a complete one, in place and in constant memory."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO

from audiotool.audio import flac
from audiotool.audio.extras import ID3, ID3V1, Part, family_of
from audiotool.audio.unclosed import exactly

MOVED = 1 << 20
"""Number of bytes that are moved at a time."""

LARGEST_SIZE = 0xFFFFFFFF

FRAMES = {
    "title": "TIT2",
    "artist": "TPE1",
    "album": "TALB",
    "date": "TDRC",
    "genre": "TCON",
    "tracknumber": "TRCK",
    "copyright": "TCOP",
}
"""libsndfile's name of a tag -> ID3's frame; a comment has another layout."""

AIFF_TEXTS = {"title": "NAME", "artist": "AUTH", "copyright": "(c) ", "comment": "ANNO"}
"""AIFF's own chunks of text."""


def embed(file: BinaryIO, format_name: str, parts: Sequence[Part], mask: int = 0) -> None:
    """Put parts into a complete file of a format that holds them.

    Args:
        file: open for reading and writing.
        format_name: libsndfile's.
        mask: mask of the channels' speakers, written where the file has a place for it; 0 leaves it.
    Raises:
        OSError: the disk is full, or the file would outgrow its sizes.
    """
    family = family_of(format_name)
    if family == "RIFF" and mask:
        _set_mask(file, mask)
    if not parts:
        return
    if family in ("RIFF", "AIFF"):
        _append_chunks(file, "<" if family == "RIFF" else ">", parts)
    elif family == "CAF":
        file.seek(0, os.SEEK_END)
        for name, data in parts:
            file.write(struct.pack(">4sq", name.encode("latin-1"), len(data)) + data)
    elif family == "FLAC":
        _set_blocks(file, parts)
    elif family == "MP3":
        _set_id3(file, parts)
    file.flush()


def tag_parts(format_name: str, tags: Mapping[str, str], there: Sequence[Part]) -> list[Part]:
    """Return parts of an MP3 or AIFF for tags by libsndfile's names; `there` are tags that the file has
    already."""
    parts = [] if any(part.name == ID3 for part in there) else [id3_tag(tags)]
    if format_name == "AIFF":
        parts += [
            Part(AIFF_TEXTS[n], t.encode("utf-8", "replace")) for n, t in tags.items() if n in AIFF_TEXTS
        ]
    return parts


def id3_tag(tags: Mapping[str, str]) -> Part:
    """Return an ID3v2.4 tag in UTF-8 for tags by libsndfile's names."""
    frames = b""
    for name, text in tags.items():
        body = b"\3" + (b"und\0" if name == "comment" else b"") + text.encode("utf-8", "replace")
        frame = "COMM" if name == "comment" else FRAMES.get(name)
        if frame is not None:
            frames += frame.encode() + _synchsafe(len(body)) + b"\0\0" + body
    return Part(ID3, b"ID3\4\0\0" + _synchsafe(len(frames)) + frames)


def _synchsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def chunks(parts: Iterable[Part], order: str = "<") -> bytes:
    """Return parts as chunks of a WAV, or with the order ">" of an AIFF."""
    id3 = b"id3 " if order == "<" else b"ID3 "
    return b"".join(
        struct.pack(f"{order}4sI", id3 if name == ID3 else name[:4].encode("latin-1"), len(data))
        + data
        + b"\0" * (len(data) % 2)
        for name, data in parts
    )


def _append_chunks(file: BinaryIO, order: str, parts: Sequence[Part]) -> None:
    end = file.seek(0, os.SEEK_END)
    file.write(b"\0" * (end % 2))
    file.write(chunks(parts, order))
    size = file.tell() - 8
    file.seek(0)
    if file.read(4) == b"RF64":
        # After the head comes the chunk ds64, whose first number is the file's size.
        file.seek(20)
        file.write(struct.pack("<Q", size))
    elif size > LARGEST_SIZE:
        raise OSError("what the input holds beside its samples does not fit into 4 GiB: choose .w64 or .flac")
    else:
        file.write(struct.pack(f"{order}I", size))


def _set_mask(file: BinaryIO, mask: int) -> None:
    at = 12
    while len(head := _at(file, at, 8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name == b"fmt ":
            if size >= 40 and _at(file, at + 8, 2) == b"\xfe\xff":
                file.seek(at + 28)
                file.write(struct.pack("<I", mask))
            return
        at += 8 + size + size % 2


def _set_blocks(file: BinaryIO, parts: Sequence[Part]) -> None:
    """Write the file's own STREAMINFO, the parts, and at least as much padding as there was."""
    blocks, begin = flac.metadata_blocks(file)
    info = next(b for b in blocks if b.kind == flac.STREAMINFO)
    head = b"fLaC" + _block(flac.STREAMINFO, _at(file, info.begin, info.size))
    kinds = {name: kind for kind, name in flac.NAMES.items()}
    head += b"".join(_block(kinds[name], data) for name, data in parts if name in kinds)
    padding = bytes(max(0, begin - len(head) - 4))
    _replace_head(file, begin, head + _block(flac.PADDING | 0x80, padding))


def _block(kind: int, data: bytes) -> bytes:
    return bytes([kind]) + len(data).to_bytes(3, "big") + data


def _set_id3(file: BinaryIO, parts: Sequence[Part]) -> None:
    for name, data in parts:
        if name == ID3:
            _replace_head(file, 0, data)
        elif name == ID3V1:
            file.seek(0, os.SEEK_END)
            file.write(data)


def _replace_head(file: BinaryIO, length: int, head: bytes) -> None:
    """Replace the beginning of a file by one that is not shorter; the rest is moved, the end first."""
    further = len(head) - length
    at = file.seek(0, os.SEEK_END)
    while further and at > length:
        size = min(MOVED, at - length)
        at -= size
        data = _at(file, at, size)
        file.seek(at + further)
        file.write(data)
    file.seek(0)
    file.write(head)


def _at(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    return exactly(file, size)
