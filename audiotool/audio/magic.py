"""The first bytes of files with a header, by which their kind is known (magic numbers)."""

from __future__ import annotations

import re

WAV = re.compile(rb"R(?:IFF|F64).{4}WAVE", re.DOTALL)
AIFF = re.compile(rb"FORM.{4}AIF[FC]", re.DOTALL)
AU = re.compile(rb"\.snd.{4}", re.DOTALL)

CAF = b"caff"
"""The first bytes of a CAF; its version follows."""

OGG = b"OggS"
"""The first bytes of each page of an Ogg."""

KINDS = {
    "WAV": WAV,
    "AIFF": AIFF,
    "AU": AU,
    "CAF": re.compile(CAF + b"\0\1"),
    "FLAC": re.compile(rb"fLaC"),
    "Ogg": re.compile(OGG),
}


def kind_of(start: bytes) -> str | None:
    """Return the kind ("WAV") of a file with a header, of its first 12 bytes; None for any other."""
    return next((kind for kind, magic in KINDS.items() if magic.match(start)), None)
