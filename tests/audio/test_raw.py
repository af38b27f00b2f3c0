"""Bare samples in all encodings: there and back, in pieces of any size; tests/cli has the pipes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import soundfile

from audiotool.audio.raw import SUBTYPES, Raw, RawFile
from audiotool.errors import InputError

SAMPLES = np.random.default_rng(0).uniform(-0.9, 0.9, (500, 2)).astype(np.float32)
STEPS = {"u8": 2**-7, "s16le": 2**-15, "s24le": 2**-23, "s32le": 2**-24, "mulaw": 0.05, "alaw": 0.05}


@pytest.mark.parametrize("encoding", SUBTYPES)
def test_bytes_are_those_of_libsndfile(encoding: str) -> None:
    raw = Raw(encoding, 8000, 2)
    data, beyond = raw.encode(SAMPLES)
    assert beyond == 0
    assert len(data) == len(SAMPLES) * raw.frame_bytes
    np.testing.assert_allclose(raw.decode(data), SAMPLES, atol=STEPS.get(encoding, 0.0))
    form = {"samplerate": 8000, "channels": 2, "format": "RAW", "subtype": raw.subtype, "endian": "LITTLE"}
    theirs = soundfile.read(io.BytesIO(data), dtype="float32", **form)[0]
    np.testing.assert_array_equal(raw.decode(data), theirs)


def test_samples_beyond_full_scale_are_counted() -> None:
    loud = np.array([[2.0], [0.5], [-3.0]], np.float32)
    assert Raw("mulaw").encode(loud)[1] == 2
    assert Raw("f32le").encode(loud) == (loud.tobytes(), 0)
    full = np.array([[1.0], [-1.0]], np.float32)
    assert Raw("s16le").encode(full) == (np.array([32767, -32768], "<i2").tobytes(), 0)


@pytest.mark.parametrize("size", [1, 3, 5, 4096])
def test_a_pipe_may_break_anywhere(size: int) -> None:
    raw = Raw("s24le", 8000, 2)
    data = raw.encode(SAMPLES)[0]

    class Pieces(io.RawIOBase):
        """A pipe whose writer gives a few bytes at a time."""

        place = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            piece = data[self.place : self.place + min(size, len(buffer))] if self.place < len(data) else b""
            buffer[: len(piece)] = piece
            self.place += len(piece)
            return len(piece)

    file = RawFile(io.BufferedReader(Pieces()), raw, "standard input")
    blocks = []
    while len(block := file.read(64)):
        assert len(block) <= 64
        blocks.append(block)
    np.testing.assert_array_equal(np.concatenate(blocks), raw.decode(data))
    assert not file.warnings
    assert file.copy_metadata() == {}
    file.close()


def test_half_a_sample_at_the_end_is_left_out_and_reported() -> None:
    file = RawFile(io.BytesIO(b"\0\0\0\0\1"), Raw("s16le", 8000, 2), "standard input")
    assert len(file.read(10)) == 1
    assert len(file.read(10)) == 0
    assert file.warnings == ["standard input ends within a sample: 1 of 4 bytes are left out"]


def test_an_unknown_encoding_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 's16le'"):
        Raw("S16LE", 16000)
    with pytest.raises(InputError, match=r"'s16be'.*s16le"):
        Raw("s16be")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((5,), "a sample format is a str, got 5"),
        ((["s16le"],), "a sample format is a str"),
        (("s16le", -8000), "a sample rate is given in Hz, a whole number above 0, got -8000"),
        (("s16le", "8000"), "a sample rate is given in Hz, a whole number above 0, got '8000'"),
        (("s16le", 8000, 0), "bare samples have channels, a whole number above 0, got 0"),
        (("s16le", 8000, 1.5), "bare samples have channels, a whole number above 0, got 1.5"),
    ],
)
def test_values_that_no_samples_have_are_refused(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Raw(*values)


def test_numbers_of_any_type_are_whole_ones() -> None:
    assert Raw("s16le", 8000.0, np.uint8(2)) == Raw("s16le", 8000, 2)  # type: ignore[arg-type]
    assert Raw("s16le", 8000, np.uint8(200)).frame_bytes == 400
