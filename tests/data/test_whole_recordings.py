"""With `audio.segment_seconds: null` an example is one whole recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import soundfile
from kit.tones import RATE, dataset, plain, tone

from audiotool.data.entry import Entry
from audiotool.data.manifest import read_manifest, write_manifest

MEL = {"sample_rate": RATE, "n_fft": 512, "hop_length": 128, "n_mels": 40}


@pytest.fixture
def uneven(corpus: Path) -> Path:
    """The corpus with one more recording of each length and voice."""
    entries = list(read_manifest(corpus))
    for n, seconds in enumerate((0.7, 1.3, 2.1)):
        path = corpus.parent / f"uneven{n}.wav"
        soundfile.write(path, tone(150 + 40 * n, seconds), RATE, subtype="FLOAT")
        entries.append(Entry(path, "speech", f"voice{n}", RATE, seconds, "valid", "tones", "CC0-1.0"))
    write_manifest(corpus, [e for e in entries if e.kind == "noise" or e.seconds != 3.0])
    return corpus


@pytest.mark.parametrize("example", ["noisy", "narrow-band", "mixture", "features", "array"])
def test_the_recording_whose_length_an_example_has_is_heard(uneven: Path, example: str) -> None:
    audio: dict[str, Any] = {"segment_seconds": None}
    audio |= {"channels": 2} if example == "array" else {"mel": MEL}
    mixed = dataset(uneven, example, audio=audio, evaluation=plain(), mixture={"overlap": [1, 1]})
    lengths = set()
    for index in range(12):
        made, facts = mixed.with_facts(index)
        frames = soundfile.info(facts["speech_files"][0]).frames
        whole = frames // 128 * 128 if example == "features" else frames
        assert made["target"].shape[-1] == whole
        if example != "mixture":
            assert len(facts["speech_files"]) == 1
        lengths.add(frames)
    assert len(lengths) == 3


def test_whole_recordings_are_as_long_as_their_speed_makes_them(uneven: Path) -> None:
    write_manifest(uneven, [e if e.kind == "noise" else _trained(e) for e in read_manifest(uneven)])
    augmentation = {"speed_probability": 1, "speed": [1.25, 1.25], "equalisation_probability": 0}
    mixed = dataset(
        uneven, split="train", audio={"segment_seconds": None}, mixing=plain(), augmentation=augmentation
    )
    for index in range(6):
        made, facts = mixed.with_facts(index)
        frames = soundfile.info(facts["speech_files"][0]).frames
        assert made["target"].shape == (1, round(frames / 1.25))
        # Speech goes on to the end: nothing is cut, and nothing is missing.
        assert made["target"][0, -800:].abs().max() > 0.05 * made["target"].abs().max()


def test_an_enrolled_speaker_is_heard_in_a_whole_recording(corpus: Path) -> None:
    mixed = dataset(corpus, "enrolment", audio={"segment_seconds": None}, evaluation=plain())
    for index in range(4):
        made, facts = mixed.with_facts(index)
        assert made["target"].shape == (1, 3 * RATE)
        assert len(facts["speech_files"]) == len(facts["speech"].split("+")) <= 2
        assert made["enrolment"].shape == (1, 5 * RATE)


def _trained(entry: Entry) -> Entry:
    return Entry(entry.path, "speech", entry.group, RATE, entry.seconds, "train", "tones", "CC0-1.0")
