"""Recordings of a live stream: two files of their own, which replace none and outlive a full disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like
from kit.devices import BLOCK, RATE
from kit.disk import largest_file

from audiotool.audio import long_wav
from audiotool.errors import InputError, PlanError
from audiotool.live.recorder import Recorder, check_places


def blocks(seconds: float) -> list[np.ndarray]:
    return list(speech_like(seconds, RATE)[0].reshape(-1, BLOCK))


def recorded(recorder: Recorder, which: int, sound: list[np.ndarray]) -> None:
    for block in sound:
        recorder.put(which, block)


@pytest.mark.parametrize("second", ["a.wav", "in/../a.wav", "link/a.wav", "alias.wav", "in/../link/a.wav"])
def test_two_spellings_of_one_file_are_refused(tmp_path: Path, second: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "alias.wav").symlink_to("a.wav")
    with pytest.raises(PlanError, match="--record needs two files, and these are one: ") as refused:
        check_places(tmp_path / "a.wav", tmp_path / second)
    assert refused.value.exit_code == 2
    check_places(tmp_path / "a.wav", tmp_path / "in" / "a.wav")


@pytest.mark.parametrize(("source", "target"), [("-", "out.wav"), ("in.wav", "-"), ("-", "-")])
def test_standard_output_is_no_recording(source: str, target: str) -> None:
    with pytest.raises(PlanError, match="--record needs two files, and '-' is standard output"):
        Recorder(Path(source), Path(target), RATE)


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    places = (tmp_path / "in.wav", tmp_path / "out.wav")
    first, second, third = (Recorder(*places, RATE) for _ in range(3))
    sounds = {}
    for recorder, seconds in ((first, 0.32), (second, 0.64), (third, 0.96)):
        sounds[recorder] = blocks(seconds)
        for which in (0, 1):
            recorded(recorder, which, sounds[recorder])
        recorder.commit()
        recorder.check()
    assert first.kept == list(places)
    assert second.kept == [tmp_path / "in-2.wav", tmp_path / "out-2.wav"]
    assert third.kept == [tmp_path / "in-3.wav", tmp_path / "out-3.wav"]
    for recorder, sound in sounds.items():
        for path in recorder.kept:
            found = soundfile.read(str(path))[0]
            np.testing.assert_allclose(found, np.concatenate(sound), atol=2**-15)
    assert len(list(tmp_path.iterdir())) == 6


@pytest.mark.parametrize("ending", [".wav", ".aiff", ".caf"])
def test_what_came_before_a_full_disk_is_kept(tmp_path: Path, ending: str) -> None:
    """Of the input less than the limit comes, of the output more."""
    places = (tmp_path / f"in{ending}", tmp_path / f"out{ending}")
    sound, limit = blocks(1.6), 20001
    recorder = Recorder(*places, RATE)
    with largest_file(limit):
        recorded(recorder, 1, sound)
        recorded(recorder, 0, sound[:30])
        recorder.commit()
    with pytest.raises(InputError, match=r"out.* `ulimit -f` allows; what came before is in .*in.* and "):
        recorder.check()
    assert recorder.kept == list(places)
    found = [soundfile.read(str(place))[0] for place in places]
    assert len(found[0]) == 30 * BLOCK
    assert len(found[1]) % BLOCK == 0
    assert limit - 5000 < 2 * len(found[1]) <= limit
    for samples in found:
        np.testing.assert_allclose(samples, np.concatenate(sound)[: len(samples)], atol=2**-15)
    data = places[1].read_bytes()
    if ending == ".wav":
        assert int.from_bytes(data[4:8], "little") == len(data) - 8
        assert data[:4] == b"RIFF"
    assert len(list(tmp_path.iterdir())) == 2


def test_what_came_before_the_end_of_a_format_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """AIFF holds 4 GiB, which are 12 hours of 48 kHz."""
    monkeypatch.setattr(long_wav, "WAV_BYTES", 20001)
    places = (tmp_path / "in.aiff", tmp_path / "out.wav")
    recorder = Recorder(*places, RATE)
    for which in (0, 1):
        recorded(recorder, which, blocks(1.6))
    recorder.commit()
    with pytest.raises(InputError, match=r"AIFF holds 4 GiB, .* what came before is in .*in\.aiff and "):
        recorder.check()
    found = [soundfile.read(str(place))[0] for place in recorder.kept]
    assert [len(samples) for samples in found] == [39 * BLOCK, 100 * BLOCK]
    np.testing.assert_array_equal(*(samples[: 39 * BLOCK] for samples in found))


@pytest.mark.parametrize("ending", [".flac", ".ogg", ".mp3"])
def test_a_coding_that_cannot_be_cut_costs_its_own_file_alone(tmp_path: Path, ending: str) -> None:
    places = (tmp_path / "in.wav", tmp_path / f"out{ending}")
    rng = np.random.default_rng(0)
    noise = list(rng.uniform(-0.9, 0.9, (800, BLOCK)).astype(np.float32))
    recorder = Recorder(*places, RATE)
    with largest_file(20001):
        recorded(recorder, 1, noise)
        recorded(recorder, 0, noise[:30])
        recorder.commit()
    with pytest.raises(InputError, match=f"out{ending}: .*; what came before is in .*in.wav$"):
        recorder.check()
    assert recorder.kept == [places[0]]
    assert soundfile.info(str(places[0])).frames == 30 * BLOCK
    assert list(tmp_path.iterdir()) == [places[0]]
