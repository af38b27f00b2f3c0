"""Kinds of examples beside noisy speech: narrow bands, mixtures, features, enrolments, arrays."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kit.tones import PITCHES, RATE, dataset, islands, plain

from audiotool.data import augment
from audiotool.data.array_rooms import Room, responses
from audiotool.data.clips import FileClips, Samples
from audiotool.data.config import AudioConfig, DataConfig
from audiotool.data.entry import Entry
from audiotool.data.examples.enrolment import Enrolment
from audiotool.data.manifest import read_manifest, write_manifest
from audiotool.data.material import Material, Pool
from audiotool.data.rooms import early_taps
from audiotool.dsp.mel_spectrogram import MelSpectrogram
from audiotool.errors import RecipeError


def test_arrays_have_the_direct_sound_alone_as_a_target(corpus: Path) -> None:
    mixing = plain(snr_db=(60, 60), early_ms=0)
    example = dataset(corpus, "array", audio={"channels": 2}, evaluation=mixing)[0]
    assert example["target"].abs().max() > 1e-3
    # In the middle of a room nothing is reflected within the first millisecond.
    room = Room(np.array([6.0, 5.0, 3.0]), 0.4)
    at, array = np.array([2.0, 2.5, 1.5]), np.array([[4.0, 2.6, 1.4]])
    [response] = responses(np.random.default_rng(0), room, at, array, RATE)
    gains = np.abs(np.fft.rfft(early_taps(response, 0, RATE), 1024))[:420]  # up to 6.5 kHz
    assert np.abs(gains - 1).max() < 0.1


def test_narrow_band_keeps_the_low_band_in_place(corpus: Path) -> None:
    example = dataset(corpus, "narrow-band", evaluation=plain())[0]
    narrow, wide = (torch.fft.rfft(example[k][0]) for k in ("input", "target"))
    per_hz = 24000 / RATE
    low = slice(int(100 * per_hz), int(3000 * per_hz))
    assert (narrow[low] - wide[low]).abs().max() < 0.02 * wide[low].abs().max()
    trained = dataset(corpus, "narrow-band", "train")
    for index in range(6):
        power = torch.fft.rfft(trained[index]["input"][0]).abs().square()
        assert power[int(4300 * per_hz) :].sum() < 1e-4 * power.sum()


def test_each_example_has_its_bandwidth_as_a_condition(corpus: Path) -> None:
    trained = dataset(corpus, "narrow-band", "train", narrow_band={"bandwidth_hz": [2000, 6000]})
    per_hz, measured = 24000 / RATE, []
    for index in range(8):
        example = trained[index]
        assert example["bandwidth_hz"].shape == example["target_bandwidth_hz"].shape == (1, 1)
        assert example["target_bandwidth_hz"].item() == RATE / 2
        measured.append(example["bandwidth_hz"].item())
        assert 0 < measured[-1] <= 6000
        power = torch.fft.rfft(example["input"][0]).abs().square()
        assert power[int((measured[-1] + 300) * per_hz) :].sum() < 1e-4 * power.sum()
    assert len(set(measured)) > 3


def test_noise_of_a_narrow_band_is_the_input_s_alone(corpus: Path) -> None:
    changes: dict[str, Any] = {"narrow_band": {"noise_probability": 1.0}, "mixing": plain(snr_db=(0, 0))}
    low = slice(int(100 * 24000 / RATE), int(3000 * 24000 / RATE))
    for split, least, most in (("train", 0.1, 10), ("valid", 0.0, 0.01)):
        example = dataset(corpus, "narrow-band", split, **changes)[0]
        narrow, wide = (torch.fft.rfft(example[k][0])[low] for k in ("input", "target"))
        ratio = ((narrow - wide).abs().square().sum() / wide.abs().square().sum()).item()
        assert least <= ratio <= most


def test_stems_add_up_and_are_different_people(corpus: Path) -> None:
    mixed = dataset(corpus, "mixture", evaluation=plain())
    for index in range(10):
        example, facts = mixed.with_facts(index)
        assert example["target"].shape == (2, 24000)
        assert torch.allclose(example["target"].sum(0), example["input"][0], atol=1e-5)
        assert len(set(facts["speech"].split("+"))) == 2


def test_one_voice_is_active_alone(corpus: Path) -> None:
    mixed = dataset(corpus, "mixture", evaluation=plain(), mixture={"single_probability": 0.5})
    alone = 0
    for index in range(12):
        example, facts = mixed.with_facts(index)
        assert torch.allclose(example["target"].sum(0), example["input"][0], atol=1e-5)
        assert example["target"][0].abs().max() > 1e-3
        silent = not example["target"][1].any()
        assert silent == ("+" not in facts["speech"])
        alone += silent
    assert 2 <= alone <= 10


def test_voices_pause(corpus: Path) -> None:
    always = {"pause_probability": 1.0, "pause_seconds": (0.2, 0.4), "overlap": (1.0, 1.0)}
    mixed = dataset(corpus, "mixture", evaluation=plain(), mixture=always)
    unbroken = dataset(corpus, "mixture", evaluation=plain(), mixture={**always, "pause_probability": 0.0})
    paused = 0
    for index in range(6):
        for stem in mixed[index]["target"]:
            gaps = [begin - end for (_, end), (begin, _) in pairwise(islands(stem))]
            paused += any(gap >= 0.19 * RATE for gap in gaps)
    assert paused >= 6  # the others pause at an edge or within the recording's own silence
    long = {**always, "pause_seconds": (5.0, 6.0)}  # longer than the segment: none
    same = dataset(corpus, "mixture", evaluation=plain(), mixture=long)[0]["target"]
    assert (same.abs() > 1e-4).sum() > 0.9 * (unbroken[0]["target"].abs() > 1e-4).sum()


def test_features_are_the_mel_of_the_target(corpus: Path) -> None:
    audio = {
        "sample_rate": 16000,
        "mel": {"sample_rate": 16000, "n_fft": 512, "hop_length": 128, "n_mels": 40},
    }
    example = dataset(corpus, "features", audio=audio)[0]
    frames = 24000 // 128
    assert example["input"].shape == (40, frames)
    assert example["target"].shape == (1, frames * 128)
    expected = MelSpectrogram(audio["mel"])(example["target"])[0, :, :frames]  # type: ignore[arg-type]
    assert torch.allclose(example["input"], expected, atol=1e-5)


def test_enrolment_is_the_same_voice(corpus: Path) -> None:
    mixed = dataset(corpus, "enrolment", evaluation=plain(), enrolment={"competitor_probability": 1})
    for index in range(6):
        example, facts = mixed.with_facts(index)
        speaker, competitor = facts["speech"].split("+")
        assert speaker != competitor
        for key in ("target", "enrolment"):
            wave = example[key][0]
            peak = int(torch.fft.rfft(wave).abs().argmax()) * RATE / len(wave)
            assert peak == pytest.approx(PITCHES[speaker], abs=4)
        assert example["enrolment"].shape == (1, 80000)


def test_enrolments_are_other_recordings(corpus: Path) -> None:
    # One voice has a single recording: it may be heard, but there is nothing else to enrol it by.
    left = [e for e in read_manifest(corpus) if not (e.group == "anna" and e.path.stem == "1")]
    write_manifest(corpus, left)
    mixed = dataset(corpus, "enrolment", evaluation=plain(), enrolment={"competitor_probability": 1})
    competitors = set()
    for index in range(20):
        _, facts = mixed.with_facts(index)
        speaker, competitor = facts["speech"].split("+")
        assert facts["enrolled"] == speaker != "anna"
        assert facts["enrolled_speaks"]
        assert facts["enrolment_files"]
        assert {Path(f).parent.name for f in facts["enrolment_files"]} == {speaker}
        assert {Path(f).parent.name for f in facts["speech_files"]} == {speaker, competitor}
        assert not set(facts["enrolment_files"]) & set(facts["speech_files"])
        competitors.add(competitor)
    assert "anna" in competitors
    write_manifest(corpus, [e for e in left if e.kind == "noise" or e.path.stem == "0"])
    with pytest.raises(RecipeError, match="two recordings or more, and the 'valid' split has none"):
        dataset(corpus, "enrolment")
    one = [e for e in left if e.kind == "noise" or e.group == "bert"]
    write_manifest(corpus, one)
    with pytest.raises(RecipeError, match=r"the 'valid' split has fewer \(bert\): edit the column `split`"):
        dataset(corpus, "enrolment")


def test_thousands_of_speakers_are_compared_once_an_example() -> None:
    compared = 0

    class Name(str):
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    rows = [(f"speaker {n // 3 * 2}" if n % 3 else f"speaker {n // 3 * 2 + 1}", n) for n in range(900)]
    entries = [Entry(Path(f"{n}.wav"), "speech", Name(group)) for group, n in rows]
    clips = FileClips([], RATE)
    clips.paths, clips.lengths = [e.path for e in entries], np.full(len(entries), RATE)
    pool = Pool(entries, clips, balance=1)
    material = Material(pool, noise=None, rooms=None, pairs=None)
    example = Enrolment(material, DataConfig(), AudioConfig(), "train")
    assert len(example.never) == 300
    assert int(pool.draw_group(np.random.default_rng(0), example.never).split()[1]) % 2 == 0
    assert compared < 3000


def test_an_enrolled_speaker_who_is_silent_is_not_listed_as_speaking(corpus: Path) -> None:
    mixed = dataset(corpus, "enrolment", evaluation=plain(noise_only_probability=1))
    for index in range(6):
        example, facts = mixed.with_facts(index)
        assert not example["target"].any()
        assert not facts["enrolled_speaks"]
        assert facts["speech"] in PITCHES
        assert (
            {Path(f).parent.name for f in facts["speech_files"]} == {facts["speech"]} != {facts["enrolled"]}
        )


def test_an_array_hears_delays_between_microphones(corpus: Path) -> None:
    mixing = plain(snr_db=(60, 60))
    array = {"radius": 0.2, "geometry": "line", "rt60_seconds": [0.15, 0.16]}
    mixed = dataset(corpus, "array", audio={"channels": 2}, evaluation=mixing, array=array)
    largest = round(0.4 / 343 * RATE) + 1
    lags = []
    for index in range(8):
        example = mixed[index]
        assert example["input"].shape == (2, 24000)
        assert example["target"].shape == (1, 24000)
        spectra = torch.fft.rfft(example["input"], n=48000)
        cross = spectra[0] * spectra[1].conj()
        correlation = torch.fft.irfft(cross / cross.abs().clamp(min=1e-6))
        lag = int(correlation.roll(100)[:201].argmax()) - 100
        lags.append(lag)
        # The reference microphone's early speech is most of what it hears.
        first, target = example["input"][0], example["target"][0]
        assert torch.dot(first, target) > 0.5 * first.norm() * target.norm()
    assert all(abs(lag) <= largest for lag in lags)
    assert len(set(lags)) > 2


def test_target_and_enrolment_have_the_same_resonances(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    factors: list[float] = []

    def listed(waveform: Samples, factor: float, sample_rate: int) -> Samples:
        factors.append(factor)
        return waveform

    monkeypatch.setattr(augment, "change_formants", listed)
    augmentation = {"formant_probability": 1.0, "formants": [0.7, 1.4]}
    mixed = dataset(
        corpus,
        "enrolment",
        "train",
        enrolment={"competitor_probability": 0},
        augmentation=augmentation,
        mixing=plain(),
    )
    for index in range(4):
        mixed[index]
    assert factors[::2] == factors[1::2]
    assert len(set(factors)) == 4
