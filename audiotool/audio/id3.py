"""The frames of ID3v2.3 and v2.4 tags, and the texts in them.

Reference: ID3v2.3.0 and ID3v2.4.0.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Set
from typing import NamedTuple

DESCRIBED = "COMM with a description"
"""ID3's comments that are not the comment on the recording; each has a description."""

ENCODINGS = ("latin-1", "utf-16", "utf-16-be", "utf-8")
"""Encodings of ID3's texts, by their first byte."""


class Frame(NamedTuple):
    """Name, and begin and end in bytes, of a frame in an ID3 tag."""

    name: str
    begin: int
    end: int


def is_plain(tag: bytes) -> bool:
    """Whether a tag is of ID3v2.3 or v2.4, without an extended header and not recoded as a whole."""
    return len(tag) >= 10 and tag[3] in (3, 4) and not tag[5]


def frames(tag: bytes) -> Iterator[Frame]:
    """Yield the frames of an ID3v2.3 or v2.4 tag."""
    at = 10
    while at + 10 <= len(tag) and tag[at : at + 1].isalnum():
        name, size = tag[at : at + 4].decode("latin-1"), tag[at + 4 : at + 8]
        base = 7 if tag[3] == 4 else 8
        end = at + 10 + sum(byte << base * n for n, byte in enumerate(reversed(size)))
        yield Frame(name, at, end)
        at = end


def without_frames(tag: bytes, left: Set[Frame]) -> bytes:
    """Return an ID3v2 tag with padding in place of some of its frames."""
    kept = b"".join(tag[frame.begin : frame.end] for frame in frames(tag) if frame not in left)
    return tag[:10] + kept.ljust(len(tag) - 10, b"\0")


def texts(tag: bytes, names: Container[str]) -> Iterator[tuple[str, str]]:
    """Yield name and value of each text in frames of some names of an ID3v2.3 or v2.4 tag, as it is."""
    if not is_plain(tag):
        return
    for frame in frames(tag):
        key, body = key_of(tag, frame), tag[frame.begin + 10 : frame.end]
        # The second byte of flags says that a frame is compressed, encrypted or otherwise recoded.
        if key not in names or tag[frame.begin + 9] or not body or body[0] >= len(ENCODINGS):
            continue
        found = _decoded(body[0], body[1:]) if frame.name != "COMM" else _decoded(body[0], body[4:])[1:]
        yield from ((key, text) for text in found if text)


def key_of(tag: bytes, frame: Frame) -> str:
    """Return the name of a frame, in which comments with a description are apart."""
    return DESCRIBED if frame.name == "COMM" and description(tag, frame) else frame.name


def description(tag: bytes, frame: Frame) -> str:
    """Return the description of a comment, or of a text that a user defines; "" for other frames."""
    body, begin = tag[frame.begin + 10 : frame.end], {"COMM": 4, "TXXX": 1}.get(frame.name)
    if begin is None or len(body) <= begin or body[0] >= len(ENCODINGS):
        return ""
    return _decoded(body[0], body[begin:])[0]


def _decoded(encoding: int, data: bytes) -> list[str]:
    """Return the texts that zeros end. Each has a byte order mark of its own in UTF-16."""
    found = data.decode(ENCODINGS[encoding], "replace").split("\0")
    return [text.strip("\ufeff ") for text in found]
