"""Read the parts of a FLAC file before its samples. Reference: RFC 9639, sections 8 and 9."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

STREAMINFO, PADDING, APPLICATION, SEEKTABLE, VORBIS_COMMENT, CUESHEET, PICTURE = range(7)

NAMES = {APPLICATION: "application", VORBIS_COMMENT: "comments", CUESHEET: "cuesheet", PICTURE: "picture"}
"""Kinds of blocks that an output keeps -> the names of their parts (`audio.extras`)."""

LARGEST_BLOCK = (1 << 24) - 1
"""Greatest number of bytes of a block's body."""

MOST_COMMENTS = 100_000
"""Greatest number of comments with which libFLAC reads a file."""


class MetadataBlock(NamedTuple):
    """A metadata block.

    Args:
        kind: its type, for example `PICTURE`.
        begin: of its body in the file.
        size: of its body in bytes.
    """

    kind: int
    begin: int
    size: int


def metadata_blocks(file: BinaryIO) -> tuple[list[MetadataBlock], int]:
    """Return the metadata blocks of a file and the position of its first frame; none and 0 if it is no
    FLAC."""
    end = file.seek(0, 2)
    at = 0
    file.seek(at)
    start = file.read(10)
    if start[:3] == b"ID3" and len(start) == 10:
        at = 10 + id3_size(start)
        file.seek(at)
        start = file.read(4)
    if start[:4] != b"fLaC":
        return [], 0
    blocks, at, is_last = [], at + 4, False
    while not is_last and at + 4 <= end:
        file.seek(at)
        head = file.read(4)
        is_last = bool(head[0] & 0x80)
        blocks.append(MetadataBlock(head[0] & 0x7F, at + 4, int.from_bytes(head[1:], "big")))
        at += 4 + blocks[-1].size
    return blocks, at


def id3_size(head: bytes) -> int:
    """Return the number of bytes that follow the head (ten bytes) of an ID3v2 tag."""
    return head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]


def counts_from_zero(file: BinaryIO) -> bool:
    """Whether the first frame's number is 0. Files that are cut out of a stream keep their numbers.

    Args:
        file: its position is restored.
    """
    position = file.tell()
    _, begin = metadata_blocks(file)
    file.seek(begin + 4)
    first = file.read(1)
    file.seek(position)
    return first == b"\0"
