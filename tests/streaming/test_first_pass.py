"""The first pass reads as much of a recording as the model asks for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kit.audio import speech_like

from audiotool.engines.pytorch import TorchEngine
from audiotool.errors import StreamError
from audiotool.models.band_split_gru import BandSplitGRU, BandSplitGRUConfig
from audiotool.pipeline import Pipeline
from audiotool.streaming.first_pass import FirstPass


@pytest.fixture(scope="module")
def model() -> BandSplitGRU:
    torch.manual_seed(0)
    return BandSplitGRU(BandSplitGRUConfig(dim=8, layers=2)).eval()


def memory_of(model: BandSplitGRU, waveform: np.ndarray, sample_rate: int, size: int) -> list[torch.Tensor]:
    first_pass = FirstPass(TorchEngine(model), sample_rate, len(waveform))
    for begin in range(0, waveform.shape[1], size):
        if first_pass.complete:
            break
        first_pass.feed(waveform[:, begin : begin + size])
    return first_pass.conditions()["memory"]["layers"]


@pytest.mark.parametrize("rate", [16000, 44100])
def test_the_same_seconds_are_in_the_warm_up_whatever_the_blocks(model: BandSplitGRU, rate: int) -> None:
    waveform = speech_like(3.0, rate, 2)
    expected = memory_of(model, waveform[:, : round(model.warm_up_seconds * rate)], rate, 10**9)
    for size in (997, rate, 10**9):
        torch.testing.assert_close(memory_of(model, waveform, rate, size), expected)


def test_the_warm_up_of_a_short_recording_is_the_whole_recording(model: BandSplitGRU) -> None:
    waveform = speech_like(0.5, 16000, 1)
    _, state = model.step(torch.from_numpy(waveform)[None])
    torch.testing.assert_close(memory_of(model, waveform, 16000, 1000), state["layers"])


def test_no_more_is_read_than_is_asked_for(model: BandSplitGRU) -> None:
    second = speech_like(1.0, 16000, 1)
    first_pass = FirstPass(TorchEngine(model), 16000, 1)
    for _ in range(2):
        assert not first_pass.complete
        first_pass.feed(second)
    assert first_pass.complete


def test_a_stream_shorter_than_the_warm_up_has_one_too(model: BandSplitGRU) -> None:
    pipeline = Pipeline(TorchEngine(model), "denoise")
    waveform = speech_like(1.0, 16000, 2)
    streamed = np.concatenate(list(pipeline.stream(np.array_split(waveform, 9, axis=1), 16000)), axis=1)
    np.testing.assert_allclose(streamed, pipeline(waveform, 16000), atol=1e-5)


def test_blocks_that_change_channels_are_refused_in_the_warm_up(model: BandSplitGRU) -> None:
    blocks = (speech_like(0.1, 16000, channels) for channels in (1, 2))
    with pytest.raises(StreamError, match="blocks"):
        list(Pipeline(TorchEngine(model), "denoise").stream(blocks, 16000))


def test_without_warm_up_nothing_is_read(model: BandSplitGRU) -> None:
    first_pass = FirstPass(TorchEngine(model), 16000, 1, warm_up=False)
    assert first_pass.complete
    assert first_pass.conditions() == {}
