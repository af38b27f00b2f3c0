"""The first pass reads as much of a recording as the model asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
import torch
from kit.audio import speech_like

import audiotool
from audiotool.engines.pytorch import TorchEngine
from audiotool.errors import StreamError
from audiotool.models.band_split_gru import BandSplitGRU, BandSplitGRUConfig
from audiotool.pipeline import Pipeline
from audiotool.streaming.first_pass import FirstPass
from audiotool.streaming.session import Settings

LEAD_SECONDS = 2.4
"""Seconds of a quiet beginning: whole hops of the model."""


@pytest.fixture(scope="module")
def model() -> BandSplitGRU:
    torch.manual_seed(0)
    return BandSplitGRU(BandSplitGRUConfig(dim=8, layers=2)).eval()


def hiss(samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1e-4, (1, samples)).astype(np.float32)


def measured(model: BandSplitGRU, waveform: np.ndarray, sample_rate: int, size: int) -> dict[str, Any]:
    first_pass = FirstPass(TorchEngine(model), sample_rate, len(waveform))
    for begin in range(0, waveform.shape[1], size):
        if first_pass.complete:
            break
        first_pass.feed(waveform[:, begin : begin + size])
    return first_pass.conditions()


def memory_of(model: BandSplitGRU, waveform: np.ndarray, sample_rate: int, size: int) -> list[torch.Tensor]:
    return measured(model, waveform, sample_rate, size)["memory"]["layers"]


@pytest.mark.parametrize("rate", [16000, 44100])
def test_the_same_seconds_are_in_the_warm_up_whatever_the_blocks(model: BandSplitGRU, rate: int) -> None:
    waveform = speech_like(9.0, rate, 2)
    expected = memory_of(model, waveform, rate, 10**9)
    for size in (997, rate):
        torch.testing.assert_close(memory_of(model, waveform, rate, size), expected)


def test_the_warm_up_is_the_first_eight_seconds(model: BandSplitGRU) -> None:
    waveform = speech_like(9.0, 16000, 2)
    assert model.warm_up_samples == 8 * 16000
    _, state = model.step(torch.from_numpy(waveform[:, None, : model.warm_up_samples]))
    torch.testing.assert_close(memory_of(model, waveform, 16000, 1000), state["layers"])


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("size", [997, 10**9])
def test_the_warm_up_begins_at_the_first_sound(model: BandSplitGRU, rate: int, size: int) -> None:
    sound, lead = speech_like(3.0, rate, 1), hiss(round(LEAD_SECONDS * rate))
    found = measured(model, np.concatenate((lead, sound), axis=1), rate, size)
    begins = found["memory_begins"].item() - round(LEAD_SECONDS * 16000)
    # A resampler rings before a sound.
    assert begins in range(0 if rate == 16000 else -model.hop_length, 600, model.hop_length)
    if rate == 16000:
        _, state = model.step(torch.from_numpy(sound[None, :, begins : begins + model.warm_up_samples]))
        torch.testing.assert_close(found["memory"]["layers"], state["layers"])


def test_a_sound_after_ten_seconds_or_at_the_end_is_not_looked_for(model: BandSplitGRU) -> None:
    sound = speech_like(1.0, 16000, 1)
    late = np.concatenate((hiss(11 * 16000), sound), axis=1)
    assert measured(model, late, 16000, 16000)["memory_begins"].item() == 0
    short = np.concatenate((hiss(2 * 16000), sound[:, : 16000 // 3]), axis=1)
    assert measured(model, short, 16000, 16000)["memory_begins"].item() == 0


@pytest.mark.parametrize("size", [256, 10**6])
def test_the_first_sound_is_processed_as_if_the_recording_began_there(model: BandSplitGRU, size: int) -> None:
    hop = model.hop_length
    sound, lead = speech_like(3.0, 16000, 1), hiss(round(LEAD_SECONDS * 16000))
    pipeline = Pipeline(TorchEngine(model), "denoise", settings=Settings(chunk_seconds=size / 16000))
    whole = np.concatenate((lead, sound), axis=1)
    begins = measured(model, whole, 16000, size)["memory_begins"].item()
    # The first frame still holds the end of the quiet.
    alone = pipeline(whole[:, begins:], 16000)[:, 2 * hop :]
    np.testing.assert_allclose(pipeline(whole, 16000)[:, begins + 2 * hop :], alone, atol=1e-3)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
@pytest.mark.parametrize("seconds", [8.5, 3.0])
def test_channels_are_processed_independently(engine: Literal["onnx", "torch"], seconds: float) -> None:
    """The warm-up of each begins where its own sound does, and hears as much as follows there."""
    pipeline = audiotool.load("denoise-tiny-16k", engine=engine)
    leads = (5.0, LEAD_SECONDS, 0.0)
    x = np.concatenate([hiss(round((leads[0] + seconds) * 16000))] * len(leads))
    for row, lead in enumerate(leads):
        begin = round(lead * 16000)
        x[row, begin:] = speech_like(leads[0] + seconds - lead, 16000, seed=row)
    together = pipeline(x, 16000)
    for row in range(len(leads)):
        alone = pipeline(x[row], 16000)
        np.testing.assert_allclose(together[row], alone, atol=1e-3 * np.abs(alone).max())


def test_the_warm_up_of_a_short_recording_is_the_whole_recording(model: BandSplitGRU) -> None:
    waveform = speech_like(0.5, 16000, 1)
    _, state = model.step(torch.from_numpy(waveform)[None])
    torch.testing.assert_close(memory_of(model, waveform, 16000, 1000), state["layers"])


@pytest.mark.parametrize(("whole", "seconds"), [(True, 10), (False, 8)])
def test_no_more_is_read_than_is_asked_for(model: BandSplitGRU, whole: bool, seconds: int) -> None:
    second = speech_like(1.0, 16000, 1)
    first_pass = FirstPass(TorchEngine(model), 16000, 1, whole=whole)
    for _ in range(seconds):
        assert not first_pass.complete
        first_pass.feed(second)
    assert first_pass.complete


def test_a_stream_shorter_than_the_warm_up_has_one_too(model: BandSplitGRU) -> None:
    pipeline = Pipeline(TorchEngine(model), "denoise")
    waveform = speech_like(1.0, 16000, 2)
    streamed = np.concatenate(list(pipeline.stream(np.array_split(waveform, 9, axis=1), 16000)), axis=1)
    np.testing.assert_allclose(streamed, pipeline(waveform, 16000), atol=1e-5)


def test_a_stream_may_reuse_the_memory_of_its_blocks(model: BandSplitGRU) -> None:
    """As `soundfile.blocks(out=...)` does, also while the warm-up is fed."""
    pipeline = Pipeline(TorchEngine(model), "denoise")
    parts = np.split(speech_like(1.0, 16000, 2), 10, axis=1)
    buffer = np.empty_like(parts[0])

    def blocks() -> Iterator[np.ndarray]:
        for part in parts:
            buffer[:] = part
            yield buffer

    expected = np.concatenate(list(pipeline.stream(parts, 16000)), axis=1)
    np.testing.assert_array_equal(np.concatenate(list(pipeline.stream(blocks(), 16000)), axis=1), expected)


def test_blocks_that_change_channels_are_refused_in_the_warm_up(model: BandSplitGRU) -> None:
    blocks = (speech_like(0.1, 16000, channels) for channels in (1, 2))
    with pytest.raises(StreamError, match="blocks"):
        list(Pipeline(TorchEngine(model), "denoise").stream(blocks, 16000))


def test_without_warm_up_nothing_is_read(model: BandSplitGRU) -> None:
    first_pass = FirstPass(TorchEngine(model), 16000, 1, warm_up=False)
    assert first_pass.complete
    assert first_pass.conditions() == {}


def test_a_bandwidth_that_is_given_is_not_measured() -> None:
    engine = audiotool.load("super-resolve").engine
    assert not FirstPass(engine, 16000, 1).complete
    assert FirstPass(engine, 16000, 1, bandwidth=False).complete
