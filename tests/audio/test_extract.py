"""Tags and chunks whose sizes and numbers nobody expects are read, or are named as lost."""

from __future__ import annotations

import io
import struct

import pytest

from audiotool.audio import flac
from audiotool.audio.extract import read_extras
from audiotool.audio.extras import Extras, Part
from audiotool.audio.speakers import COMMENT


def comments(*found: bytes) -> bytes:
    packed = b"".join(struct.pack("<I", len(comment)) + comment for comment in found)
    return struct.pack("<II", 0, len(found)) + packed


@pytest.mark.parametrize(
    ("said", "mask"),
    [(b"0x60F", 0x60F), (b"4294967295", 0xFFFFFFFF), (b"-1", 0), (b"0x100000000", 0), (b"?", 0)],
)
def test_speakers_are_a_mask_of_32_bits_or_none(said: bytes, mask: int) -> None:
    body = comments(COMMENT.encode() + b"=" + said)
    file = io.BytesIO(b"fLaC" + bytes([flac.VORBIS_COMMENT | 0x80]) + len(body).to_bytes(3, "big") + body)
    assert read_extras(file, "FLAC") == Extras("FLAC", (Part("comments", body),), mask)
