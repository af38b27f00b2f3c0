"""Outputs of every sample rate: what a coding has not is resampled, exact in length and place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr
from kit.audio import speech_like

from audiotool.audio.reader import read
from audiotool.audio.writer import OutputFormat
from audiotool.files.outputs import open_output


@pytest.mark.parametrize(("name", "asked"), [("a.opus", None), ("a.ogg", "opus")])
@pytest.mark.parametrize("sample_rate", [11025, 22050, 44100, 96000])
@pytest.mark.parametrize("frames", [1, 997, 20000])
def test_opus_of_rates_that_it_has_not_is_resampled(
    tmp_path: Path, name: str, asked: str | None, sample_rate: int, frames: int
) -> None:
    sound = speech_like(2.0, sample_rate, 2)[:, :frames]
    with open_output(tmp_path / name, OutputFormat(sample_rate, 2, asked_subtype=asked)) as writer:
        for start in range(0, frames, 777):
            writer.write(sound[:, start : start + 777].T)
    assert writer.resampled == f"OPUS has no {sample_rate} Hz: the output is resampled to 48000 Hz"
    found, rate = read(tmp_path / name)
    assert (rate, found.shape) == (48000, (2, -(-frames * 48000 // sample_rate)))
    if frames < 20000:
        return
    expected = soxr.resample(sound.T, sample_rate, rate).T
    # No shift by a part of a sample comes nearer.
    errors = []
    for shift in (-0.5, 0.0, 0.5):
        turned = np.exp(-2j * np.pi * np.fft.rfftfreq(found.shape[1]) * shift)
        moved = np.fft.irfft(np.fft.rfft(found) * turned, found.shape[1])
        errors.append(float(((moved[:, 500:-500] - expected[:, 500 : found.shape[1] - 500]) ** 2).sum()))
    assert errors[1] == min(errors)
    assert errors[1] < 0.05 * float((expected**2).sum())


@pytest.mark.parametrize(("sample_rate", "coded"), [(37800, 44100), (64000, 48000), (96000, 48000)])
def test_mp3_of_rates_that_it_has_not_is_resampled(tmp_path: Path, sample_rate: int, coded: int) -> None:
    sound = speech_like(0.5, sample_rate)
    with open_output(tmp_path / "a.mp3", OutputFormat(sample_rate, 1)) as writer:
        writer.write(sound.T)
    assert writer.resampled == f"MP3 has no {sample_rate} Hz: the output is resampled to {coded} Hz"
    found, rate = read(tmp_path / "a.mp3")
    assert (rate, found.shape) == (coded, (1, coded // 2))
    expected = soxr.resample(sound[0], sample_rate, coded)
    assert np.sum((found[0] - expected) ** 2) < 0.05 * np.sum(expected**2)


@pytest.mark.parametrize(
    ("name", "rate"), [("a.opus", 16000), ("a.ogg", 44100), ("a.wav", 44100), ("a.mp3", 11025)]
)
def test_rates_that_a_coding_has_stay(tmp_path: Path, name: str, rate: int) -> None:
    with open_output(tmp_path / name, OutputFormat(rate, 1)) as writer:
        writer.write(speech_like(0.2, rate).T)
    assert writer.resampled == ""
    assert read(tmp_path / name)[1] == rate


def test_peaks_are_those_of_the_file(tmp_path: Path) -> None:
    with open_output(tmp_path / "a.mp3", OutputFormat(96000, 1)) as writer:
        writer.write(np.repeat([[0.9], [-0.9]], 4800, 0).astype(np.float32))
    # The band limit makes the step overshoot.
    assert 1 < writer.peak < 1.2
    assert "is beyond full scale: MP3 keeps it" in writer.excess


def test_nothing_is_left_of_an_output_that_is_given_up(tmp_path: Path) -> None:
    earlier = tmp_path / "a.opus"
    earlier.write_bytes(b"earlier")
    writer = open_output(earlier, OutputFormat(44100, 1))
    writer.write(speech_like(0.2, 44100).T)
    writer.close()
    assert earlier.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [earlier]
