"""Training examples are mixed as the recipe says."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from kit.tones import BUNDLED, RATE, dataset, islands, plain, tone

from audiotool.data.entry import Entry
from audiotool.data.levels import active_rms, decibels
from audiotool.data.manifest import read_manifest, write_manifest
from audiotool.data.rooms import Response, Rooms
from audiotool.errors import RecipeError

AUGMENTATIONS = ("speed", "formant", "equalisation", "band_limit", "clipping", "codec", "packet_loss")
NEVER: dict[str, object] = {f"{name}_probability": 0 for name in AUGMENTATIONS}


def db(x: torch.Tensor) -> float:
    return decibels(active_rms(x.reshape(-1).numpy(), RATE))


def test_snr_and_level_are_those_drawn(corpus: Path) -> None:
    mixed = dataset(corpus, evaluation=plain(snr_db=(-5, 20), level_dbfs=(-40, -20)))
    for index in range(20):
        example, facts = mixed.with_facts(index)
        noise = example["input"] - example["target"]
        assert db(example["target"]) - db(noise) == pytest.approx(facts["snr_db"], abs=0.02)
        assert db(example["input"]) == pytest.approx(facts["level_dbfs"], abs=0.02)
        assert -5 <= facts["snr_db"] <= 20
        assert -40 <= facts["level_dbfs"] <= -20
        assert example["input"].shape == example["target"].shape == (1, 24000)
        assert example["input"].dtype == torch.float32


@pytest.mark.parametrize("example", ["noisy", "array"])
def test_silent_parts_of_noises_are_drawn_again(corpus: Path, example: str) -> None:
    folder = corpus.parent / "valid"
    hiss = soundfile.read(folder / "noise0.wav", dtype="float32")[0]
    hiss[2 * RATE :] = 0
    for n in range(2):
        soundfile.write(folder / f"noise{n}.wav", hiss, RATE, subtype="FLOAT")
    audio = {"channels": 2} if example == "array" else {}
    mixed = dataset(corpus, example, audio=audio, evaluation=plain(snr_db=(0, 0)))
    for index in range(20):
        _, facts = mixed.with_facts(index)
        assert facts["snr_db"] == pytest.approx(0, abs=0.02)
        assert facts["noise_files"]


@pytest.mark.parametrize("example", ["noisy", "mixture", "enrolment", "array"])
def test_silent_noises_have_no_snr(corpus: Path, example: str) -> None:
    for n in range(2):
        soundfile.write(corpus.parent / "valid" / f"noise{n}.wav", np.zeros(4 * RATE), RATE)
    audio = {"channels": 2} if example == "array" else {}
    mixed = dataset(corpus, example, audio=audio, evaluation=plain(), mixture={"noise_probability": 1})
    for index in range(3):
        made, facts = mixed.with_facts(index)
        assert facts["snr_db"] is None
        assert (facts["noise"], facts["noise_files"]) == ("", [])
        assert made["input"].any()


def test_the_snr_is_that_of_the_recording_with_its_lead_in(corpus: Path) -> None:
    changes = {"lead_in_probability": 1, "level_jump_probability": 1, "reverberation_probability": 0}
    mixed = dataset(corpus, evaluation=plain(snr_db=(0, 10), **changes))
    for index in range(20):
        example, facts = mixed.with_facts(index)
        if not example["target"].any():
            assert facts["snr_db"] is None
            continue
        noise = example["input"] - example["target"]
        assert db(example["target"]) - db(noise) == pytest.approx(facts["snr_db"], abs=0.02)


def test_active_level_ignores_pauses() -> None:
    speech = np.concatenate([tone(200, 1.0), np.zeros(RATE, np.float32)])
    assert active_rms(speech, RATE) == pytest.approx(active_rms(tone(200, 1.0), RATE), rel=1e-6)
    assert active_rms(np.zeros(RATE, np.float32), RATE) == 0.0


def test_noise_only_and_clean_only(corpus: Path) -> None:
    silent = dataset(corpus, evaluation=plain(noise_only_probability=1))[0]
    assert silent["target"].abs().max() == 0
    assert silent["input"].abs().max() > 1e-3
    clean = dataset(corpus, evaluation=plain(clean_only_probability=1))[0]
    assert torch.equal(clean["input"], clean["target"])
    assert clean["input"].abs().max() > 1e-3


def test_words_alone_stand_between_digital_silence(corpus: Path) -> None:
    mixing = plain(
        snr_db=(20, 20), island_probability=1, island_seconds=(0.2, 0.3), island_pause_seconds=(0.2, 0.4)
    )
    mixed = dataset(corpus, evaluation=mixing)
    clean = 0
    for index in range(20):
        example = mixed[index]
        target = example["target"][0]
        found = islands(target)
        assert len(found) >= 2
        assert found[0][0] >= 0.2 * RATE - 1
        for begin, end in found:
            assert end - begin <= 0.3 * RATE
        for (_, end), (begin, _) in pairwise(found):
            assert 0.19 * RATE <= begin - end <= 0.5 * RATE
        clean += torch.equal(example["input"][0], target)
    assert 3 <= clean <= 17  # half of them without noise


def test_peaks_stay_below_full_scale(corpus: Path) -> None:
    loud = dataset(corpus, evaluation=plain(level_dbfs=(-1, 0)))
    assert max(loud[i]["input"].abs().max().item() for i in range(20)) <= 0.9901


@pytest.mark.parametrize("example", ["noisy", "mixture", "narrow-band", "enrolment", "array"])
def test_an_example_is_made_from_its_number_alone(corpus: Path, example: str) -> None:
    audio = {"channels": 3} if example == "array" else {}
    first, second = (dataset(corpus, example, "train", audio) for _ in range(2))
    forwards = [first[i] for i in range(8)]
    backwards = [second[i] for i in reversed(range(8))][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[k], other[k]) for k in one)
    assert not torch.equal(forwards[0]["input"], forwards[1]["input"])


def test_examples_do_not_depend_on_the_number_of_workers(corpus: Path) -> None:
    mixed = dataset(corpus, split="train")
    batches = [
        torch.cat([b["input"] for b in torch.utils.data.DataLoader(mixed, 4, num_workers=workers)])
        for workers in (0, 1, 2)
    ]
    assert torch.equal(batches[0], batches[1])
    assert torch.equal(batches[0], batches[2])


def test_seeds_and_splits_differ(corpus: Path) -> None:
    ours = dataset(corpus)[0]["input"]
    assert not torch.equal(ours, dataset(corpus, seed=1)[0]["input"])
    assert not torch.equal(ours, dataset(corpus, split="train")[0]["input"])


def test_every_augmentation_at_once_is_finite_and_in_range() -> None:
    # Real speech, noises and rooms; everything that can happen does.
    always = dict.fromkeys(NEVER, 1.0)
    mixing = {"reverberation_probability": 1, "noises": [1, 3], "synthetic": {"probability": 0.4}}
    mixed = dataset(BUNDLED, split="train", augmentation=always, mixing=mixing, rir=[BUNDLED])
    for index in range(20):
        example = mixed[index]
        assert all(v.isfinite().all() for v in example.values())
        assert example["input"].abs().max() <= 1.1
        assert example["input"].shape == (1, 24000)


def test_band_limit_is_on_input_and_target_alike(corpus: Path) -> None:
    augmentation = NEVER | {"band_limit_probability": 1, "low_pass_hz": [3000, 3100]}
    example = dataset(corpus, split="train", augmentation=augmentation, mixing=plain(snr_db=(0, 0)))[0]
    for key in ("input", "target"):
        power = torch.fft.rfft(example[key][0]).abs().square()
        assert power[int(6000 / RATE * 24000) :].mean() < 1e-4 * power.mean()


def manifest_of_room(folder: Path, taps: np.ndarray) -> Path:
    """Write one room response, for validation, and a manifest of it."""
    soundfile.write(folder / "room.wav", taps, RATE, subtype="FLOAT")
    write_manifest(folder / "rooms.csv", [Entry(folder / "room.wav", "rir", split="valid")])
    return folder / "rooms.csv"


def test_reverberant_targets_are_aligned_with_their_input(tmp_path: Path, corpus: Path) -> None:
    # A room of a direct sound at sample 30 and one late echo: early target = dry speech, undelayed.
    taps = np.zeros(4000, np.float32)
    taps[30], taps[3000] = 0.5, 0.25
    rooms = manifest_of_room(tmp_path, taps)
    mixing = plain(snr_db=(60, 60), reverberation_probability=1)
    example = dataset(corpus, evaluation=mixing, rir=[rooms])[0]
    reverberant, early = example["input"][0], example["target"][0]
    echo = torch.zeros_like(early)
    echo[2970:] = 0.5 * early[:-2970]
    assert (reverberant - early - echo).abs().max() < 0.01 * reverberant.abs().max()
    whole = dataset(corpus, evaluation=mixing | {"reverberation_target": "reverberant"}, rir=[rooms])[0]
    assert (whole["input"] - whole["target"]).abs().max() < 0.01 * reverberant.abs().max()
    dry = dataset(corpus, evaluation=mixing | {"reverberation_target": "dry"}, rir=[rooms])[0]
    scale = float(torch.dot(dry["target"][0], early) / torch.dot(early, early))
    assert torch.allclose(dry["target"][0], scale * early, atol=1e-3)


@pytest.mark.parametrize("early_ms", [0, 0.5, 2, 5, 9, 50])
def test_early_targets_keep_the_direct_sound_whole(early_ms: float) -> None:
    speech = tone(200, 1.0)
    ringing = [-0.2, 1.0, 0.7, -0.3, 0.1]  # its peak lies between two samples
    taps = np.zeros(4000, np.float32)
    taps[29:34] = ringing
    direct = Response(taps.copy(), 30, "no reflections")
    taps[30 + 160] = 0.5
    room = Response(taps, 30, "a reflection after 10 ms")
    short = Response(taps[:34], 30, "no sample after the direct sound")
    whole = Rooms([], RATE).place(speech, direct, "reverberant", 0)[1]
    for response in (direct, room, short):
        early = Rooms([], RATE).place(speech, response, "early", early_ms)[1]
        if response is room and early_ms == 50:
            assert np.abs(early - whole)[160:].max() > 0.1
        else:
            assert np.allclose(early, whole, atol=1e-6)


@pytest.mark.parametrize(
    ("example", "changes", "message"),
    [
        ("noisy", {"audio": {"channels": 2}}, "audio.channels is 2"),
        ("noisy", {"noise": [], "evaluation": plain()}, "there is no noise to add"),
        ("array", {}, "audio.channels is 1"),
        ("narrow-band", {"narrow_band": {"source_rate": 16000}}, "must be less than"),
        (
            "narrow-band",
            {"narrow_band": {"bandwidth_hz": [7500, 7900]}},
            "begins at 7500 Hz: it must be less",
        ),
        ("mixture", {"mixture": {"speakers": 4}}, "the 'valid' split has 3 "),
        ("features", {}, "audio.mel is missing"),
        ("features", {"audio": {"mel": "vocos-24k"}}, "24000 Hz"),
        ("features", {"audio": {"mel": "vocos-25k"}}, "vocos-24k"),
        ("noissy", {}, "did you mean 'noisy'"),
        *(
            (name, {"pairs": [BUNDLED]}, f"data.pairs: examples of '{name}' take no pairs")
            for name in ("narrow-band", "features", "enrolment", "array")
        ),
    ],
)
def test_recipes_that_cannot_be_served(
    corpus: Path, example: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        dataset(corpus, example, **changes)


def envelope_db(x: torch.Tensor) -> np.ndarray:
    """Levels of 50 ms, of (1, T)."""
    return 10 * np.log10(np.square(x.numpy()[0]).reshape(-1, 800).mean(1) + 1e-12)


def test_a_lead_in_holds_no_speech_and_less_noise(corpus: Path) -> None:
    mixing = plain(lead_in_probability=1, lead_in_seconds=(0.5, 0.5), lead_in_db=(30, 30), snr_db=(0, 0))
    depths = []
    for index in range(20):
        example = dataset(corpus, evaluation=mixing)[index]
        assert not example["target"][:, :8000].any()
        assert example["target"][:, 8400:].any()
        levels = envelope_db(example["input"] - example["target"])
        depths.append(levels[20:].mean() - levels[:9].mean())
    # Hiss is steady here: it lies 30 dB lower, or there is nothing at all.
    assert all(d == pytest.approx(30, abs=1.5) or d > 60 for d in depths)
    assert {d > 60 for d in depths} == {True, False}


def test_a_level_jump_takes_everything_along(corpus: Path) -> None:
    mixing = plain(level_jump_probability=1, level_jump_db=20, snr_db=(0, 0))
    jumps = []
    for index in range(10):
        jumped = dataset(corpus, evaluation=mixing)[index]
        noise = envelope_db(jumped["input"] - jumped["target"])
        jumps.append(np.ptp(noise))
        reverberant = np.abs(jumped["target"].numpy()[0]).reshape(3, -1).max(1)
        assert reverberant.min() > 0
    assert max(jumps) > 8
    steady = dataset(corpus, evaluation=plain(snr_db=(0, 0)))[0]
    assert np.ptp(envelope_db(steady["input"] - steady["target"])) < 2


def test_noise_may_be_reverberant(corpus: Path, tmp_path: Path) -> None:
    response = np.zeros(8000, np.float32)
    response[[0, 4000]] = 1.0, 0.9
    mixing = plain(noise_reverberation_probability=1, noise_only_probability=1)
    noise = dataset(corpus, rir=[manifest_of_room(tmp_path, response)], evaluation=mixing)[0]["input"][0]
    dry = dataset(corpus, evaluation=plain(noise_only_probability=1))[0]["input"][0]
    echo = [float(torch.dot(x[4000:], x[:-4000]) / torch.dot(x, x)) for x in (noise, dry)]
    assert echo[0] > 0.3
    assert abs(echo[1]) < 0.1


def test_noise_reaches_no_further_than_a_dull_recording(corpus: Path) -> None:
    def top(index: int, **augmentation: object) -> float:
        """Power above 5 kHz over all power, of the noisy recording."""
        mixed = dataset(dull, split="train", mixing=plain(snr_db=(0, 0)), augmentation=NEVER | augmentation)
        power = np.square(np.abs(np.fft.rfft(mixed[index]["input"].numpy()[0])))
        return float(power[len(power) * 5 // 8 :].sum() / power.sum())

    entries = [replace(e, bandwidth_hz=4000.0) for e in read_manifest(corpus)]
    dull = corpus.with_name("dull.csv")
    write_manifest(dull, entries)
    assert read_manifest(dull) == entries
    assert top(0) > 0.1
    assert top(0, match_bandwidth=True) < 1e-3
