"""Several channels become one: their mean, unless it cancels sound, which is reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like
from kit.checkpoints import save_model

import audiotool
from audiotool.audio.mono import AVERAGED, LOSING, ONE, PART, REMARKS, TURNED, _say, to_mono, weigh
from audiotool.data.clips import DecodedClips, FileClips, read_audio
from audiotool.files.features import MelAnalysis
from audiotool.metrics.pairing import best_order
from audiotool.models.personalised_transformer import PersonalisedTransformer
from audiotool.streaming.downmix import StreamingDownmix

VOICE = speech_like(2.0, 16000)[0]
OTHER = speech_like(2.0, 16000, 3, seed=7)[2]
HALF = len(VOICE) // 2
TURNED_LATER = np.concatenate((VOICE[:HALF], -VOICE[HALF:]))

CASES = pytest.mark.parametrize(
    ("channels", "how"),
    [
        ([VOICE, VOICE], AVERAGED),
        ([VOICE, OTHER], AVERAGED),
        ([VOICE, 0 * VOICE], AVERAGED),
        ([VOICE + 0.1, VOICE - 0.1], AVERAGED),
        ([*np.zeros((31, len(VOICE))), VOICE], AVERAGED),
        (list(np.random.default_rng(0).normal(0, 0.1, (32, 16000))), AVERAGED),
        ([VOICE, -VOICE], TURNED),
        ([VOICE, -0.9 * VOICE + 0.01 * OTHER], TURNED),
        ([VOICE, -VOICE, VOICE, -VOICE], TURNED),
        ([0 * VOICE, VOICE, -VOICE], TURNED),
        ([VOICE, TURNED_LATER], ONE),
    ],
)


def check(samples: np.ndarray, mixed: np.ndarray, remark: str | None, how: int) -> None:
    assert (remark is None) == (how == AVERAGED)
    if how == AVERAGED:
        np.testing.assert_allclose(mixed, samples.mean(axis=0), atol=1e-6)
    loudest = np.sqrt((samples**2).mean(axis=1).max())
    assert np.sqrt((mixed[-HALF:] ** 2).mean()) > loudest * (0.4 if how else 0.02)


@CASES
def test_nothing_is_averaged_away(channels: list[np.ndarray], how: int) -> None:
    samples = np.stack(channels).astype(np.float32)
    weights, found = weigh(samples)
    assert found == how
    check(samples, weights @ samples, REMARKS.get(found), how)


@CASES
def test_nothing_is_averaged_away_block_by_block(channels: list[np.ndarray], how: int) -> None:
    samples = np.stack(channels).astype(np.float32)
    downmix = StreamingDownmix(len(samples), ahead=True)
    blocks = [downmix.feed(samples[:, n : n + 5000]) for n in range(0, samples.shape[1], 5000)]
    mixed = np.concatenate((*blocks, downmix.flush()), axis=-1)[0]
    assert len(mixed) == samples.shape[1]
    check(samples, mixed, downmix.remark, how)


def test_a_last_few_samples_decide_nothing() -> None:
    samples = np.stack((VOICE, OTHER)).astype(np.float32)[:, : 3 * PART + 5]
    samples[1, -6:] = -samples[0, -6:]
    assert weigh(samples)[1] == AVERAGED


def test_one_mix_that_loses_little_is_better_than_one_that_loses_much() -> None:
    """A jingle of changing polarity, then a voice in each channel: either alone would lose a voice."""
    silence = np.zeros_like(VOICE)
    left, right = np.r_[VOICE, OTHER, silence], np.r_[TURNED_LATER, silence, OTHER]
    weights, how = weigh(np.stack((left, right)).astype(np.float32))
    assert how == LOSING
    np.testing.assert_allclose(weights, 0.5)


def test_the_remark_comes_once_for_each_recording(caplog: pytest.LogCaptureFixture) -> None:
    samples = np.stack((VOICE, -VOICE)).astype(np.float32)
    for name in ("first.wav", "first.wav", "second.wav"):
        to_mono(samples, name)
    # However many recordings without a remark come between.
    for n in range(_say.cache_info().maxsize or 0):
        to_mono(np.ones((2, 4), np.float32), f"{n}.wav")
    to_mono(samples, "first.wav")
    assert [r.getMessage().partition(":")[0] for r in caplog.records] == ["first.wav", "second.wav"]
    assert "opposite polarity" in caplog.text


def test_every_room_keeps_the_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack((VOICE, -VOICE)).T, 16000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(path, 16000), VOICE, atol=1e-6)
    np.testing.assert_allclose(FileClips([path], 16000).read(0, 500, 9000), VOICE[500:9500], atol=1e-6)
    decoded = DecodedClips([path], 16000, tmp_path / "cache")
    np.testing.assert_allclose(decoded.read(0, 500, 9000), VOICE[500:9500], atol=1e-4)
    result = MelAnalysis("hifigan-22k").process_file(path, tmp_path / "a.npy")
    assert any("opposite polarity" in w for w in result.warnings)
    assert np.load(tmp_path / "a.npy").max() > -6


def test_stems_of_opposite_channels_find_their_references(tmp_path: Path) -> None:
    paths = {}
    for name, voice in (("a", VOICE), ("b", OTHER)):
        paths[name] = tmp_path / f"{name}.wav"
        soundfile.write(paths[name], np.stack((voice, -voice)).T, 16000)
    assert best_order([paths["a"], paths["b"]], [paths["b"], paths["a"]]) == (1, 0)


def test_an_enrolment_of_opposite_channels_is_not_cancelled(tmp_path: Path) -> None:
    network = PersonalisedTransformer.from_config(PersonalisedTransformer.small)
    pipeline = audiotool.load(save_model(tmp_path / "personal.safetensors", network, "denoise"), "cpu")
    conditions = []
    for name, right in (("one", VOICE), ("opposite", -VOICE)):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, np.stack((VOICE, right)).T, 16000, subtype="FLOAT")
        pipeline.enrol(path)
        conditions.append(pipeline.conditions)
    (key,) = conditions[0]
    np.testing.assert_allclose(np.asarray(conditions[0][key]), np.asarray(conditions[1][key]), atol=1e-5)
    assert np.abs(np.asarray(conditions[0][key])).max() > 0
