"""The contents of a file beside its samples: chunks, metadata blocks, ID3 tags, speakers of its channels.

An output gets the parts that its format can hold, byte for byte; the names of the others are reported.

Reference: Multimedia Programming Interface and Data Specifications 1.0 (RIFF); EBU Tech 3285 (bext) and 3306
(RF64); Apple, AIFF 1.3 and Core Audio Format 1.0; RFC 9639 (FLAC); ID3v2.4.0; RFC 3533 (Ogg).
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, NamedTuple, TypeVar

from audiotool.audio import flac, id3, mp3, speakers
from audiotool.audio.unclosed import exactly
from audiotool.audio.vorbis_comments import comments, packed, without_comments

PROGRAMS = frozenset(("ISFT", "TSSE", "ENCODER", "SOFTWARE"))
"""Tags with the name of the program that wrote a file; the output is written by another."""

MEASURED = re.compile(
    r"(REPLAYGAIN|R128|MP3GAIN)_.*|ITUN(NORM|SMPB)|RVA[2D]|XRVA|RGAD|MLLT|ASPI", re.IGNORECASE
)
"""Tags that were measured on the samples of the input or on its bytes, by their names or descriptions: gains,
peaks, delays and indices. Those of the output are others."""

LARGEST = 1 << 24
"""Greatest number of bytes of a file's parts that are kept; a part beyond is left out, and its name
reported."""

MOST_PIECES = 1000
"""Greatest number of a file's chunks or blocks that are looked at; a small file can hold millions."""

BEYOND = f"what follows its first {MOST_PIECES} chunks"

ID3, ID3V1 = "ID3", "ID3v1"

UNREAD_ID3 = "what else its ID3 tag holds"
"""What is said of a tag in a form that is not read here (`id3.is_plain`); libsndfile reads its texts."""

FAMILIES = {"WAV": "RIFF", "WAVEX": "RIFF", "RF64": "RIFF", "W64": "W64"} | {
    name: name for name in ("AIFF", "CAF", "FLAC", "MP3", "OGG")
}
"""libsndfile's formats -> the family of parts that they hold."""

OF_SAMPLES = {
    "RIFF": {"fmt ", "data", "ds64", "fact", "JUNK", "junk", "PAD ", "FLLR", "filr", "PEAK", "levl", "MD5 "},
    "AIFF": {"COMM", "SSND", "FVER", "FLLR", "PEAK"},
    "CAF": {"desc", "data", "pakt", "kuki", "free", "peak", "ovvw"},
}
"""Chunks that describe the samples; an output has its own."""

TIMED = (
    "cue ",
    "plst",
    "smpl",
    "LIST/adtl",
    "bext",
    "iXML",
    "r64m",
    "MARK",
    "INST",
    "mark",
    "regn",
    "cuesheet",
)
"""Parts with positions in samples or a sample rate, which are wrong at another sample rate."""

TAGS = {
    "title": ("INAM", "TIT2", "TITLE", "NAME"),
    "artist": ("IART", "TPE1", "ARTIST", "AUTH"),
    "album": ("IPRD", "TALB", "ALBUM"),
    "date": ("ICRD", "TDRC", "TYER", "DATE"),
    "comment": ("ICMT", "COMM", "COMMENT", "ANNO"),
    "copyright": ("ICOP", "TCOP", "COPYRIGHT", "(c) "),
    "genre": ("IGNR", "TCON", "GENRE"),
    "tracknumber": ("ITRK", "TRCK", "TRACKNUMBER"),
    "license": ("LICENSE",),
}
"""libsndfile's name of a tag -> its keys in RIFF, ID3, Vorbis comments and AIFF."""

AS_TAGS = {*(key for keys in TAGS.values() for key in keys), *PROGRAMS, "TENC", "TLEN", "info", "strg", ID3V1}
"""Parts that are read as tags, or that name the program that wrote the file."""

BETWEEN_VALUES = "; "
"""What stands between several values of a tag where a format has one: two artists."""

WORDS = {
    "APIC": "picture",
    "METADATA_BLOCK_PICTURE": "picture",
    "COVERART": "picture",
    "CHAP": "chapters",
    "CTOC": "chapters",
    "USLT": "lyrics",
    "LYRICS": "lyrics",
}
"""Names of ID3's frames and of Vorbis comments -> words for them."""

CHAPTER = re.compile(r"CHAPTER\d+")
"""Vorbis comments of a chapter: CHAPTER001, CHAPTER001NAME."""

MASK = "WAVEFORMATEXTENSIBLE_CHANNEL_MASK"
"""Comment of a FLAC with the mask of its speakers, which are named as such where an output loses them."""


Piece = TypeVar("Piece")


class Part(NamedTuple):
    """A piece of a file.

    Args:
        name: of the chunk (four characters, or "LIST/INFO"), "ID3", "ID3v1", or of the FLAC block.
        data: its body.
    """

    name: str
    data: bytes


class Extras(NamedTuple):
    """The contents of a file beside its samples.

    Args:
        family: family of the parts, see `FAMILIES`; "" where a file of their format gets none of them.
        parts: in the order of the file.
        mask: mask of the channels' speakers, as in WAVE_FORMAT_EXTENSIBLE; 0 without one.
        lost: names of parts that were not read.
    """

    family: str = ""
    parts: tuple[Part, ...] = ()
    mask: int = 0
    lost: tuple[str, ...] = ()

    def after(self, same_rate: bool, same_channels: bool) -> Extras:
        """Return the extras that are valid for an output of other samples and the same length in seconds."""
        timed = [p.name.rstrip() for p in self.parts if not same_rate and p.name in TIMED]
        kept = [_without_measures(p) for p in self.parts if p.name.rstrip() not in timed]
        parts, measured = tuple(part for part, _ in kept), [name for _, names in kept for name in names]
        lost = (*self.lost, *timed, *measured)
        return self._replace(parts=parts, mask=self.mask if same_channels else 0, lost=lost)

    def split(self, format_name: str, channels: int) -> tuple[list[Part], list[str]]:
        """Return the parts that a format of libsndfile's can hold, and the names of all others."""
        family = family_of(format_name)
        holders = {ID3: ("RIFF", "AIFF", "MP3"), "comments": ("FLAC",)}
        kept, others = list[Part](), list[Part]()
        for part in self.parts:
            fits = self.family == family != "" or family in holders.get(part.name, ())
            (kept if fits else others).append(part)
        left = [name for part in others for name in _names(part)]
        is_there = any(_mask_of_comments(part.data) for part in kept if part.name == "comments")
        left += [] if is_there or holds_mask(format_name) else speakers.lost(self.mask, channels)
        return kept, list(dict.fromkeys([*self.lost, *left]))

    def names(self) -> list[str]:
        """Return the names of all parts that are no tags of libsndfile's."""
        return self.split("", 0)[1]

    def tags(self) -> dict[str, list[str]]:
        """Return the values of the tags in the parts, by libsndfile's names; repeated ones once.

        Of several keys of one tag, the one with most values counts.
        """
        values: dict[str, dict[str, None]] = {}
        for part in self.parts:
            for key, text in _texts(part):
                values.setdefault(key, {})[text] = None
        found = {name: [list(values[key]) for key in keys if key in values] for name, keys in TAGS.items()}
        return {name: max(of_keys, key=len) for name, of_keys in found.items() if of_keys}

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return the names, libsndfile's, of tags that no part holds, as far as the parts can be read."""
        if any(part.name == ID3 and not id3.is_plain(part.data) for part in self.parts):
            return []
        there = self.tags()
        return [name for name in names if name not in there]

    def all_names(self) -> list[str]:
        """Return the names of all parts, tags included."""
        return list(dict.fromkeys(part.name.rstrip() for part in self.parts))


def family_of(format_name: str) -> str:
    """Return the family of parts that a format of libsndfile's can hold; "" for none."""
    return FAMILIES.get(format_name, "")


def holds_mask(format_name: str) -> bool:
    """Whether a format can hold a mask of speakers."""
    return family_of(format_name) == "RIFF"


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
        if family in ("RIFF", "AIFF", "CAF", "W64"):
            return _of_chunks(file, family, end)
        if family == "FLAC":
            return _of_flac(file)
        if family == "MP3":
            return _of_mp3(file, end)
        if family == "OGG":
            return Extras(parts=tuple(_of_ogg(file)))
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
    """Yield name, begin and size of each chunk's body, up to the first invalid one."""
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
        if size < 0 or begin + size > end or not name.isprintable():
            return
        yield name, begin, size
        at = begin + size + (-size % align)


def _part(name: str, body: bytes) -> Part:
    return Part(ID3, _id3(body)) if name in ("id3 ", "ID3 ") else Part(name, body)


def _without_measures(part: Part) -> tuple[Part, list[str]]:
    """Return a part without what was measured on the input's sound, and the names of that."""
    if part.name == "bext" and len(part.data) >= 422 and struct.unpack_from("<H", part.data, 346)[0] >= 2:
        # The loudness; 0x7FFF means that it was not measured.
        return Part(part.name, part.data[:412] + b"\xff\x7f" * 5 + part.data[422:]), []
    names: list[str] = []
    data = part.data
    if part.name == "comments":
        names = [key for key, _ in comments(data) if MEASURED.fullmatch(key)]
        data = without_comments(data, set(names)) if names else data
    elif part.name == ID3 and id3.is_plain(data):
        described = {frame: id3.description(data, frame) or frame.name for frame in id3.frames(data)}
        measured = {frame: name for frame, name in described.items() if MEASURED.fullmatch(name)}
        names = list(measured.values())
        data = id3.without_frames(data, measured.keys()) if names else data
    return Part(part.name, data), names


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
            mask = _mask_of_comments(body)
            body = without_comments(body, PROGRAMS)
        parts.append(Part(name, body))
    # Some programs put an ID3 tag before the FLAC, as before an MP3. An output has its texts as comments.
    before = _of_mp3(file, blocks[0].begin - 8) if blocks and blocks[0].begin > 8 else Extras()
    frames = (name for part in before.parts for name in _names(part))
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


def _mask_of_comments(data: bytes) -> int:
    for key, value in comments(data):
        if key == MASK:
            try:
                return int(value, 0)
            except ValueError:
                return 0
    return 0


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


def _of_ogg(file: BinaryIO) -> Iterator[Part]:
    """Yield the comments, which are the second packet of an Ogg file."""
    file.seek(0)
    packets: list[bytes] = [b""]
    there = 0
    while len(packets) < 3 and there < LARGEST:
        page = file.read(27)
        if len(page) < 27 or page[:4] != b"OggS":
            break
        for size in file.read(page[26]):
            packets[-1] += file.read(size)
            there += size
            if size < 255:
                packets.append(b"")
    packet = packets[1] if len(packets) > 1 else b""
    prefix = next((p for p in (b"OpusTags", b"\3vorbis") if packet.startswith(p)), None)
    if prefix is not None:
        yield Part("comments", without_comments(packet[len(prefix) :], PROGRAMS))


def _untagged(names: Iterable[str], prefix: str = "") -> tuple[str, ...]:
    """Return the names of parts that are no tags, with a prefix, or in plain words where there are any."""
    return tuple(_in_words(name) or f"{prefix}{name}" for name in names if name not in AS_TAGS)


def _in_words(name: str) -> str | None:
    return "chapters" if CHAPTER.match(name) else WORDS.get(name)


def _names(part: Part) -> tuple[str, ...]:
    """Return the names of the contents of a part that is not kept, without tags that libsndfile reads."""
    if part.name == "LIST/INFO":
        return _untagged((name for name, data in sub_chunks(part.data[4:]) if data.strip(b"\0 ")), "LIST/")
    if part.name == "comments":
        return _untagged(key for key, value in comments(part.data) if value and key != MASK)
    if part.name == ID3 and not id3.is_plain(part.data):
        return (UNREAD_ID3,)
    if part.name == ID3:
        return _untagged((id3.key_of(part.data, frame) for frame in id3.frames(part.data)), "ID3/")
    return tuple(name.rstrip() for name in _untagged([part.name]))


def _texts(part: Part) -> Iterator[tuple[str, str]]:
    """Yield key and value of each text of a part that is not empty."""
    if part.name == ID3:
        yield from id3.texts(part.data, AS_TAGS)
        return
    found: Iterable[tuple[str, bytes]] = [(part.name, part.data)] if part.name in AS_TAGS else []
    if part.name == "comments":
        found = comments(part.data)
    elif part.name == "LIST/INFO":
        found = sub_chunks(part.data[4:])
    for key, data in found:
        if text := data.split(b"\0")[0].decode("utf-8", "replace").strip():
            yield key, text


def sub_chunks(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and body of each chunk in a LIST chunk."""
    at = 0
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        yield name.decode("latin-1"), data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
