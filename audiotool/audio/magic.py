"""The first bytes of files with a header, by which their kind is known (magic numbers)."""

from __future__ import annotations

import re

WAV = re.compile(rb"R(?:IFF|F64).{4}WAVE", re.DOTALL)
AIFF = re.compile(rb"FORM.{4}AIF[FC]", re.DOTALL)
AU = re.compile(rb"\.snd.{4}", re.DOTALL)

RIFF = b"RIFF"
"""The first bytes of a WAV, and of files of other contents, such as AVI."""

CAF = b"caff"
"""The first bytes of a CAF; its version follows."""

OGG = b"OggS"
"""The first bytes of each page of an Ogg."""

ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
"""The first bytes of an ASF (WMA, WMV): the identifier of its header."""

KINDS = {
    "WAV": WAV,
    "AIFF": AIFF,
    "AU": AU,
    "CAF": re.compile(CAF + b"\0\1"),
    "FLAC": re.compile(rb"fLaC"),
    "Ogg": re.compile(OGG),
    "MP4": re.compile(rb".{4}ftyp", re.DOTALL),
    "ASF": re.compile(re.escape(ASF[:12])),
}

KIND_BYTES = 12
"""First bytes by which a kind is known."""

ARRAYS = {
    ".npy": re.compile(rb"\x93NUMPY"),
    ".npz": re.compile(rb"PK\x03\x04.{26}[^\0]{0,99}?\.npy", re.DOTALL),
    ".safetensors": re.compile(rb".{4}\0{4}\{", re.DOTALL),
}
"""Name endings of files of arrays, as mels are. The members of a .npz, a zip, are .npy; a .safetensors begins
with the length of its JSON."""

ARRAY_BYTES = 160
"""First bytes by which a file of arrays is known."""


def kind_of(start: bytes) -> str | None:
    """Return the kind ("WAV") of a file with a header, of its first KIND_BYTES bytes; None for any other."""
    return next((kind for kind, magic in KINDS.items() if magic.match(start)), None)


def array_ending(start: bytes) -> str | None:
    """Return the ending (".npy") of a file of arrays, of its first ARRAY_BYTES bytes; None for any other."""
    return next((ending for ending, magic in ARRAYS.items() if magic.match(start)), None)
