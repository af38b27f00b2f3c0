"""Read what a file holds beside its samples (`audio.extras`): of RIFF, AIFF, CAF and W64, FLAC, MP3 and Ogg.

Reference: Multimedia Programming Interface and Data Specifications 1.0 (RIFF); EBU Tech 3306 (RF64); Apple,
AIFF 1.3 and Core Audio Format 1.0; RFC 9639 (FLAC); ID3v2.4.0; RFC 3533 (Ogg).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, TypeVar

from audiotool.audio import flac, id3, mp3, speakers
from audiotool.audio.extras import CHUNKED, ID3, ID3V1, PROGRAMS, Extras, Part, family_of, names_in
from audiotool.audio.unclosed import exactly
from audiotool.audio.vorbis_comments import comments, packed, without_comments

LARGEST = 1 << 24
"""Greatest number of bytes of a file's parts that are kept; a part beyond is left out, and its name
reported."""

MOST_PIECES = 1000
"""Greatest number of a file's chunks or blocks that are looked at; a small file can hold millions."""

BEYOND = f"what follows its first {MOST_PIECES} chunks"

OF_SAMPLES = {
    "RIFF": {"fmt ", "data", "ds64", "fact", "JUNK", "junk", "PAD ", "FLLR", "filr", "PEAK", "levl", "MD5 "},
    "AIFF": {"COMM", "SSND", "FVER", "FLLR", "PEAK"},
    "CAF": {"desc", "data", "pakt", "kuki", "free", "peak", "ovvw"},
}
"""Chunks that describe the samples; an output has its own."""

WHOLE = ("RIFF", "RF64", "BW64", "FORM", "riff")
"""Names of the chunk that is a whole file; behind the chunks of a first file it is another recording."""

Piece = TypeVar("Piece")


def read_extras(file: BinaryIO, format_name: str) -> Extras:
    """Read the extras of a file.

    Args:
        file: can seek; its position is restored.
        format_name: libsndfile's.
    """
    position = file.tell()
    end = file.seek(0, 2)
    try:
        family = family_of(format_name)
        if family in CHUNKED:
            return _of_chunks(file, family, end)
        if family == "FLAC":
            return _of_flac(file)
        if family == "MP3":
            return _of_mp3(file, end)
        if family == "OGG":
            return _of_ogg(file)
        return Extras()
    except (struct.error, IndexError):
        # A broken chunk and those after it are dropped; the samples are read all the same.
        return Extras(lost=("what a damaged part of it says",))
    finally:
        file.seek(position)


def wav_extras(chunks: Iterable[tuple[str, bytes]]) -> Extras:
    """Return the extras of a WAV from a pipe, of the names and bodies of its chunks."""
    found, lost = _first(chunks)
    mask = next((speakers.of_format_chunk(body) for name, body in found if name == "fmt "), 0)
    parts = (_riff_part(name, body) for name, body in found if name not in OF_SAMPLES["RIFF"])
    return Extras("RIFF", tuple(parts), mask, lost)


def _of_chunks(file: BinaryIO, family: str, end: int) -> Extras:
    chunks, beyond = _first(_chunks(file, family, end))
    family = "RIFF" if family == "W64" else family
    mask = 0
    for name, begin, size in chunks:
        if name == "fmt ":
            file.seek(begin)
            mask = speakers.of_format_chunk(exactly(file, min(size, 64)))
    found, lost = _bodies(file, [chunk for chunk in chunks if chunk[0] not in OF_SAMPLES[family]])
    part = _riff_part if family == "RIFF" else _part
    return Extras(family, tuple(part(name, body) for name, body in found), mask, (*lost, *beyond))


def _first(pieces: Iterable[Piece]) -> tuple[list[Piece], tuple[str, ...]]:
    """Return the first `MOST_PIECES`, and a name for the others if there are any."""
    first = list(itertools.islice(pieces, MOST_PIECES + 1))
    return first[:MOST_PIECES], (BEYOND,) if len(first) > MOST_PIECES else ()


def _bodies(
    file: BinaryIO, places: Iterable[tuple[str, int, int]]
) -> tuple[list[tuple[str, bytes]], tuple[str, ...]]:
    """Return name and body of each piece, of its name, begin and size; and the names of those that exceed
    `LARGEST`."""
    found: list[tuple[str, bytes]] = []
    lost: list[str] = []
    room = LARGEST
    for name, begin, size in places:
        if size > room:
            lost.append(name.rstrip())
            continue
        room -= size
        file.seek(begin)
        found.append((name, exactly(file, size)))
    return found, tuple(lost)


def _chunks(file: BinaryIO, family: str, end: int) -> Iterator[tuple[str, int, int]]:
    """Yield name, begin and size of each chunk's body, up to the first invalid one or another recording."""
    form, head, align = {
        "RIFF": (12, struct.Struct("<4sI"), 2),
        "AIFF": (12, struct.Struct(">4sI"), 2),
        "CAF": (8, struct.Struct(">4sq"), 1),
        "W64": (40, struct.Struct("<4s12xQ"), 8),
    }[family]
    at, size64 = form, 0
    while at + head.size <= end:
        file.seek(at)
        raw, size = head.unpack(file.read(head.size))
        name = raw.decode("latin-1")
        if family == "W64":
            size -= head.size
        elif family == "RIFF" and name == "ds64":
            size64 = struct.unpack("<8xQ", file.read(16))[0]
        elif family == "RIFF" and name == "data" and size == 0xFFFFFFFF and size64:
            size = size64
        begin = at + head.size
        if size < 0 or begin + size > end or not name.isprintable() or name in WHOLE:
            return
        yield name, begin, size
        at = begin + size + (-size % align)


def _part(name: str, body: bytes) -> Part:
    return Part(ID3, _id3(body)) if name in ("id3 ", "ID3 ") else Part(name, body)


def _id3(tag: bytes) -> bytes:
    """Return an ID3v2 tag without the program's name."""
    if not id3.is_plain(tag):
        return tag
    return id3.without_frames(tag, {frame for frame in id3.frames(tag) if frame.name in PROGRAMS})


def _without_program(data: bytes) -> bytes:
    """Return the chunks in a LIST/INFO chunk without the program's name."""
    kept, at = list[bytes](), 0
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        end = at + 8 + size + size % 2
        if name.decode("latin-1") not in PROGRAMS:
            kept.append(data[at:end])
        at = end
    return b"".join((*kept, data[at:]))


def _riff_part(name: str, body: bytes) -> Part:
    if name == "LIST" and body[:4] == b"INFO":
        return Part("LIST/INFO", b"INFO" + _without_program(body[4:]))
    if name == "LIST":
        return Part(f"LIST/{body[:4].decode('latin-1')}", body)
    return _part(name, body)


def _of_flac(file: BinaryIO) -> Extras:
    blocks, beyond = _first(flac.metadata_blocks(file)[0])
    found, lost = _bodies(
        file, ((flac.NAMES[b.kind], b.begin, b.size) for b in blocks if b.kind in flac.NAMES)
    )
    parts, mask = [], 0
    for name, body in found:
        if name == "comments":
            mask = speakers.of_comments(body)
            body = without_comments(body, PROGRAMS)
        parts.append(Part(name, body))
    # Some programs put an ID3 tag before the FLAC, as before an MP3. An output has its texts as comments.
    before = _of_mp3(file, blocks[0].begin - 8) if blocks and blocks[0].begin > 8 else Extras()
    frames = (name for part in before.parts for name in names_in(part))
    parts = _with_texts(parts, before.tags())
    return Extras("FLAC", tuple(parts), mask, (*lost, *beyond, *before.lost, *frames))


def _with_texts(parts: list[Part], texts: Mapping[str, list[str]]) -> list[Part]:
    """Return the parts of a FLAC, in whose comments are the texts of tags that they have not, by libsndfile's
    names."""
    there = Extras(parts=tuple(parts)).tags()
    further = [(n.upper(), text.encode()) for n, found in texts.items() if n not in there for text in found]
    if not further:
        return parts
    own = [comment for part in parts if part.name == "comments" for comment in comments(part.data)]
    others = [part for part in parts if part.name != "comments"]
    return [Part("comments", packed([*own, *further])), *others]


def _of_mp3(file: BinaryIO, end: int) -> Extras:
    parts, lost = [], []
    file.seek(0)
    head = file.read(10)
    if head[:3] == b"ID3" and len(head) == 10:
        size = flac.id3_size(head)
        # The footer, which repeats the head, is not kept.
        head = head[:5] + bytes([head[5] & ~mp3.HAS_FOOTER]) + head[6:]
        body = exactly(file, size) if size <= LARGEST else b""
        parts += [Part(ID3, _id3(head + body))] if len(body) == size else []
        lost += [] if len(body) == size else [ID3]
    file.seek(max(0, end - 128))
    tail = file.read(128)
    if tail[:3] == b"TAG":
        parts.append(Part(ID3V1, tail))
    file.seek(max(0, end - 160))
    lost += ["APE tags"] if b"APETAGEX" in file.read(160) else []
    return Extras("MP3", tuple(parts), lost=tuple(lost))


def _of_ogg(file: BinaryIO) -> Extras:
    """Read the comments, which are the second packet of an Ogg file."""
    file.seek(0)
    packets = [bytearray()]
    while len(packets) < 3:
        page = file.read(27)
        if len(page) < 27 or page[:4] != b"OggS":
            break
        if file.tell() > LARGEST:
            return Extras(lost=("comments",))
        for size in file.read(page[26]):
            packets[-1] += file.read(size)
            if size < 255:
                packets.append(bytearray())
    packet = bytes(packets[1]) if len(packets) > 1 else b""
    prefix = next((p for p in (b"OpusTags", b"\3vorbis") if packet.startswith(p)), None)
    if prefix is None:
        return Extras()
    return Extras(parts=(Part("comments", without_comments(packet[len(prefix) :], PROGRAMS)),))
