"""The contents of a file beside its samples: chunks, metadata blocks, ID3 tags, speakers of its channels.

An output gets the parts that its format can hold, byte for byte; the names of the others are reported.
`audio.extract` reads them, `audio.embed` writes them.

Reference: EBU Tech 3285 (bext).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from audiotool.audio import flac, id3, speakers
from audiotool.audio.vorbis_comments import comments, without_comments

PROGRAMS = frozenset(("ISFT", "TSSE", "ENCODER", "SOFTWARE"))
"""Tags with the name of the program that wrote a file; the output is written by another."""

MEASURED = re.compile(
    r"(REPLAYGAIN|R128|MP3GAIN)_.*|ITUN(NORM|SMPB)|RVA[2D]|XRVA|RGAD|MLLT|ASPI", re.IGNORECASE
)
"""Tags that were measured on the samples of the input or on its bytes, by their names or descriptions: gains,
peaks, delays and indices. Those of the output are others."""

ID3, ID3V1 = "ID3", "ID3v1"

UNREAD_ID3 = "what else its ID3 tag holds"
"""What is said of a tag in a form that is not read here (`id3.is_plain`); libsndfile reads its texts."""

FAMILIES = {"WAV": "RIFF", "WAVEX": "RIFF", "RF64": "RIFF", "W64": "W64"} | {
    name: name for name in ("AIFF", "CAF", "FLAC", "MP3", "OGG")
}
"""libsndfile's formats -> the family of parts that they hold."""

CHUNKED = ("RIFF", "AIFF", "CAF", "W64")
"""Families whose parts are the chunks of the file."""

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

OF_CHANNELS = ("chan", "CHAN")
"""Chunks of CAF and AIFF with the speakers of the channels, which are wrong for another number of them."""

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
        held = self.parts if same_channels else tuple(_without_speakers(self.parts))
        timed = [p.name.rstrip() for p in held if not same_rate and p.name in TIMED]
        kept = [_without_measures(p) for p in held if p.name.rstrip() not in timed]
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
            fits = fits and (family != "FLAC" or _fits_block(part))
            (kept if fits else others).append(part)
        left = [name for part in others for name in names_in(part)]
        is_there = any(speakers.of_comments(part.data) for part in kept if part.name == "comments")
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


def _fits_block(part: Part) -> bool:
    """Whether a block of a FLAC holds a part."""
    count = sum(1 for _ in comments(part.data)) if part.name == "comments" else 0
    return len(part.data) <= flac.LARGEST_BLOCK and count <= flac.MOST_COMMENTS


def _without_speakers(parts: Iterable[Part]) -> Iterator[Part]:
    """Yield the parts without what says which speakers the channels are for."""
    for part in parts:
        if part.name == "comments":
            yield Part(part.name, without_comments(part.data, {speakers.COMMENT}))
        elif part.name not in OF_CHANNELS:
            yield part


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


def names_in(part: Part) -> tuple[str, ...]:
    """Return the names of the contents of a part that is not kept, without tags that libsndfile reads."""
    if part.name == "LIST/INFO":
        return _untagged((name for name, data in sub_chunks(part.data[4:]) if data.strip(b"\0 ")), "LIST/")
    if part.name == "comments":
        return _untagged(key for key, value in comments(part.data) if value and key != speakers.COMMENT)
    if part.name == ID3 and not id3.is_plain(part.data):
        return (UNREAD_ID3,)
    if part.name == ID3:
        return _untagged((id3.key_of(part.data, frame) for frame in id3.frames(part.data)), "ID3/")
    return tuple(name.rstrip() for name in _untagged([part.name]))


def _untagged(names: Iterable[str], prefix: str = "") -> tuple[str, ...]:
    """Return the names of parts that are no tags, with a prefix, or in plain words where there are any."""
    return tuple(_in_words(name) or f"{prefix}{name}" for name in names if name not in AS_TAGS)


def _in_words(name: str) -> str | None:
    return "chapters" if CHAPTER.match(name) else WORDS.get(name)


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
