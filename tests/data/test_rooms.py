"""Room responses: which can be used, and which of their channels."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.tones import RATE, dataset, plain

from audiotool.data.entry import Entry
from audiotool.data.manifest import write_manifest
from audiotool.data.rooms import Rooms
from audiotool.errors import InputError


def response(direct: int, echo: int) -> np.ndarray:
    taps = np.zeros(800, np.float32)
    taps[[direct, echo]] = 0.5, -0.25
    return taps


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One good file, one pack with a good and a silent response, and files that cannot be used."""
    folder = tmp_path / "rooms"
    folder.mkdir()
    soundfile.write(folder / "good.wav", response(20, 300), RATE, subtype="FLOAT")
    soundfile.write(folder / "silent.wav", np.zeros(800), RATE, subtype="FLOAT")
    soundfile.write(folder / "nan.wav", np.full(800, np.nan), RATE, subtype="FLOAT")
    (folder / "damaged.wav").write_bytes(b"RIFF no sound")
    (folder / "damaged.npz").write_bytes(b"PK no responses")
    np.savez(
        folder / "pack.npz",
        rir=np.stack([response(0, 99), np.zeros(800, np.float32)]),
        length=[800, 800],
        sample_rate=RATE,
        direct_sample=0,
    )
    return folder


def test_responses_that_cannot_be_used_are_left_out(
    folder: Path, corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [Entry(path, "rir", split="valid") for path in sorted(folder.iterdir())]
    write_manifest(folder / "rooms.csv", rows)
    with caplog.at_level(logging.WARNING):
        mixed = dataset(corpus, evaluation=plain(reverberation_probability=1), rir=[folder / "rooms.csv"])
    rooms = {mixed.with_facts(index)[1]["room"] for index in range(12)}
    assert rooms == {"good.wav", "pack.npz[0]"}
    voices = dataset(
        corpus, "mixture", evaluation=plain(reverberation_probability=0.5), rir=[folder / "rooms.csv"]
    )
    listed = [voices.with_facts(index)[1].get("room") for index in range(20)]
    # Of each voice, in their order: one without a room has no name, and two of them have none together.
    assert {name for pair in listed if pair for name in pair.split("+")} == rooms | {""}
    assert {len(pair.split("+")) for pair in listed if pair} == {2}
    assert None in listed
    left_out = {str(folder / name) for name in ("silent.wav", "nan.wav", "damaged.wav", "damaged.npz")}
    left_out.add(f"{folder / 'pack.npz'}[1]")
    assert set(mixed.example.material.unreadable) == set(mixed.skipped) == left_out
    assert {str(row.path) for row in rows} < {str(path) for path in mixed.example.material.paths}
    for path in left_out:
        assert any(f"left out: {path}" in line for line in caplog.messages)


def test_no_usable_response_is_an_error_that_names_one(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"data\.rir: none of the 2 files can be used: .*silent\.wav: silent"
    ):
        Rooms([folder / "silent.wav", folder / "nan.wav"], RATE)


def test_of_several_microphones_the_first_that_sounds_is_heard(folder: Path) -> None:
    channels = np.stack([np.zeros(800, np.float32), response(20, 300), response(23, 310)], axis=1)
    soundfile.write(folder / "array.wav", channels, RATE, subtype="FLOAT")
    (heard,) = Rooms([folder / "array.wav"], RATE).responses
    assert heard.direct == 20
    np.testing.assert_allclose(heard.taps, 2 * response(20, 300))
