"""Tags and chunks whose sizes and numbers nobody expects are read, or are named as lost."""

from __future__ import annotations

import io
import struct
import time

import numpy as np
import pytest
import soundfile

from audiotool.audio import extract, flac
from audiotool.audio.extract import read_extras
from audiotool.audio.extras import Extras, Part
from audiotool.audio.speakers import COMMENT


def comments(*found: bytes) -> bytes:
    packed = b"".join(struct.pack("<I", len(comment)) + comment for comment in found)
    return struct.pack("<II", 0, len(found)) + packed


def ogg(*packets: bytes) -> io.BytesIO:
    """Return the pages of packets, without checksums; each packet begins a page."""
    file = io.BytesIO()
    for packet in packets:
        sizes = [255] * (len(packet) // 255) + [len(packet) % 255]
        for first in range(0, len(sizes), 255):
            few = sizes[first : first + 255]
            body = packet[first * 255 : first * 255 + sum(few)]
            file.write(b"OggS" + bytes(22) + bytes([len(few), *few]) + body)
    return file


@pytest.mark.parametrize(
    ("said", "mask"),
    [(b"0x60F", 0x60F), (b"4294967295", 0xFFFFFFFF), (b"-1", 0), (b"0x100000000", 0), (b"?", 0)],
)
def test_speakers_are_a_mask_of_32_bits_or_none(said: bytes, mask: int) -> None:
    body = comments(COMMENT.encode() + b"=" + said)
    file = io.BytesIO(b"fLaC" + bytes([flac.VORBIS_COMMENT | 0x80]) + len(body).to_bytes(3, "big") + body)
    assert read_extras(file, "FLAC") == Extras("FLAC", (Part("comments", body),), mask)


@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64", "AIFF", "W64", "CAF"])
def test_another_recording_behind_is_no_chunk(form: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(2000), 16000, "PCM_16", format=form)
    first = read_extras(file, form)
    assert read_extras(io.BytesIO(2 * file.getvalue()), form) == first


def test_large_comments_of_an_ogg_take_no_more_time_each() -> None:
    body = comments(b"TITLE=abc", b"LYRICS=" + 12_000_000 * b"a")
    begin = time.process_time()
    assert read_extras(ogg(b"OpusHead", b"OpusTags" + body, b"sound"), "OGG").parts == (
        Part("comments", body),
    )
    assert time.process_time() - begin < 3


def test_too_large_comments_of_an_ogg_are_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "LARGEST", 100_000)
    file = ogg(b"OpusHead", b"OpusTags" + comments(b"X=" + bytes(200_000)), b"sound")
    assert read_extras(file, "OGG") == Extras(lost=("comments",))


@pytest.mark.parametrize(
    "found", [100_001 * (b"MOOD=calm",), (b"MOOD=" + bytes(1 << 24),)], ids=["too many", "too large"]
)
def test_comments_that_no_flac_holds_are_named(found: tuple[bytes, ...]) -> None:
    part = Part("comments", comments(*found))
    assert Extras(parts=(part,)).split("FLAC", 1) == ([], ["MOOD"])
    fitting = Part("comments", comments(b"MOOD=calm"))
    assert Extras(parts=(fitting,)).split("FLAC", 1) == ([fitting], [])


@pytest.mark.parametrize(
    ("family", "part", "left"),
    [
        ("CAF", Part("chan", struct.pack(">III", 101 << 16 | 2, 0, 0)), ()),
        ("AIFF", Part("CHAN", struct.pack(">III", 101 << 16 | 2, 0, 0)), ()),
        (
            "FLAC",
            Part("comments", comments(b"MOOD=calm", COMMENT.encode() + b"=0x30")),
            (Part("comments", comments(b"MOOD=calm")),),
        ),
    ],
)
def test_speakers_are_dropped_for_another_number_of_channels(
    family: str, part: Part, left: tuple[Part, ...]
) -> None:
    extras = Extras(family, (part,))
    assert extras.after(same_rate=True, same_channels=True) == extras
    assert extras.after(same_rate=True, same_channels=False) == Extras(family, left)
