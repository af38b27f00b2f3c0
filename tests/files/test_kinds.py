"""Kinds of inputs and outputs: names, formats and pipes are checked before any file is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiotool.errors import PlanError
from audiotool.files.kinds import Inputs, MelOutputs, Outputs


@pytest.mark.parametrize(
    ("name", "asked", "ending"),
    [
        ("a.flac", None, ".flac"),
        ("a.WAV", None, ".WAV"),
        ("a.mp4", None, ".wav"),
        ("a.npy", None, ".wav"),
        ("a.flac", "wav", ".wav"),
        ("a.wav", "ogg", ".ogg"),
        ("a.wav", "FLAC", ".flac"),
    ],
)
def test_the_ending_of_an_output(name: str, asked: str | None, ending: str) -> None:
    assert Outputs().ending(Path(name), asked) == ending


def test_formats_that_do_not_exist() -> None:
    with pytest.raises(PlanError, match="xyz"):
        Outputs().ending(Path("a.wav"), "xyz")
    with pytest.raises(PlanError):
        Outputs().check(Path("a.xyz"), None, None)
    with pytest.raises(PlanError, match="PCM_99"):
        Outputs().check(Path("a.wav"), None, "PCM_99")
    Outputs().check(Path("a.wav"), None, "PCM_24")


def test_standard_output_takes_one_recording() -> None:
    Outputs().check_pipe()
    with pytest.raises(PlanError, match="one of 2 outputs"):
        Outputs(stems=("speaker1", "speaker2")).check_pipe()
    with pytest.raises(PlanError):
        MelOutputs().check_pipe()


def test_mels() -> None:
    assert MelOutputs().ending(Path("a.wav"), None) == ".npy"
    assert MelOutputs().ending(Path("a.wav"), "SAFETENSORS") == ".safetensors"
    with pytest.raises(PlanError, match=r"\.npy, \.npz, \.safetensors"):
        MelOutputs().check(Path("a.wav"), None, None)


def test_an_input_has_no_companions_unless_it_says_so() -> None:
    assert Inputs().companions(Path("a.wav")) == ()
    assert ".wav" in Inputs().endings
