"""Copy synthesis keeps the contract of a waveform model, whatever the vocoder and its mel."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from kit.audio import speech_like
from kit.models import build

from audiotool.dsp.mel_spectrogram import MelSpectrogram
from audiotool.dsp.pitch import PitchTracker, fundamental_frequency
from audiotool.engines.copy_synthesis import CopySynthesis
from audiotool.engines.pytorch import TorchEngine
from audiotool.errors import CheckpointError
from audiotool.models.registry import MODELS
from audiotool.models.vocoder import Vocoder
from audiotool.pipeline import Pipeline
from audiotool.streaming.make import make_streamer
from audiotool.streaming.overlap_add import OverlapAddStreamer
from audiotool.streaming.streamer import CausalStreamer

SMALL_MEL = {"sample_rate": 8000, "n_fft": 64, "hop_length": 8, "n_mels": 6}
VOCOS_MEL = {"sample_rate": 8000, "n_fft": 128, "hop_length": 32, "n_mels": 6}
HIFIGAN: dict[str, Any] = {
    "mel": SMALL_MEL,
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "upsample_initial_channel": 16,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
}
PARALLEL_WAVEGAN: dict[str, Any] = {
    "mel": SMALL_MEL,
    "layers": 4,
    "stacks": 2,
    "residual_channels": 8,
    "gate_channels": 16,
    "skip_channels": 8,
    "upsample_scales": [4, 2],
}


def vocoder(name: str, **changes: Any) -> Vocoder:
    model = build(name, **changes)
    assert isinstance(model, Vocoder)
    return model


MODELS_UNDER_TEST: dict[str, tuple[str, dict[str, Any]]] = {
    "causal": ("vocos", {}),
    "causal, causal mel": ("vocos", {"mel": {**VOCOS_MEL, "padding": "causal"}}),
    "mel without padding": ("vocos", {"mel": {**VOCOS_MEL, "padding": "none"}}),
    "centred": ("vocos", {"mel": VOCOS_MEL, "causal": False, "padding": "center"}),
    "context": ("hifigan", HIFIGAN),
    "context, same": ("hifigan", {**HIFIGAN, "mel": {**SMALL_MEL, "padding": "same"}}),
    "noise by position": ("parallel-wavegan", PARALLEL_WAVEGAN),
    "F0": ("nsf", {}),
}


@pytest.fixture(params=MODELS_UNDER_TEST)
def model(request: pytest.FixtureRequest) -> CopySynthesis:
    name, changes = MODELS_UNDER_TEST[request.param]
    return CopySynthesis(TorchEngine(vocoder(name, **changes)))


def bare(model: CopySynthesis) -> Vocoder:
    """The vocoder's module."""
    assert isinstance(model.vocoder, TorchEngine)
    assert isinstance(model.vocoder.model, Vocoder)
    return model.vocoder.model


def speech(model: CopySynthesis, length: int = 4001, seed: int = 0) -> np.ndarray:
    return speech_like(length / model.sample_rate + 0.1, model.sample_rate, seed=seed)[None, :, :length]


def streamed(model: CopySynthesis, x: np.ndarray, chunk: int) -> np.ndarray:
    streamer = make_streamer(model, chunk)
    generator = random.Random(0)
    outputs, fed, got = [], 0, 0
    while fed < x.shape[-1]:
        block = x[..., fed : fed + generator.choice([0, 1, 3, 32, 257, 900])]
        outputs.append(streamer.feed(block))
        fed, got = fed + block.shape[-1], got + outputs[-1].shape[-1]
        assert got >= fed - streamer.latency, "the declared latency is exceeded"
    return np.concatenate([*outputs, streamer.flush()], axis=-1)


@pytest.mark.parametrize("chunk", [1, 1000])
def test_streamed_is_whole(model: CopySynthesis, chunk: int) -> None:
    x = speech(model)
    expected = model.process(x)
    assert expected.shape == x.shape
    peak = np.abs(expected).max()
    assert peak > 0
    assert np.abs(streamed(model, x, chunk) - expected).max() <= 1e-5 * peak


def test_the_vocoder_synthesises_the_analysed_mel(model: CopySynthesis) -> None:
    if model.pitch is not None:
        pytest.skip("has features of its own")
    length = 40 * model.vocoder.upsampling
    x = speech(model, length)
    padded = np.pad(x, ((0, 0), (0, 0), (0, model.padded_length(length) - length)))
    mel = MelSpectrogram(bare(model).mel)(torch.from_numpy(padded))
    with torch.inference_mode():
        expected = bare(model).process(mel)[..., :length].numpy()
    np.testing.assert_allclose(model.process(x), expected, atol=1e-4 * np.abs(expected).max())


def test_f0_is_tracked_in_the_input() -> None:
    nsf = vocoder("nsf")
    x = torch.from_numpy(speech_like(0.5, nsf.sample_rate))[None]
    mel = MelSpectrogram(nsf.mel)(x)
    with torch.inference_mode():
        expected = nsf.process(nsf.append_f0(mel, x))[..., : x.shape[-1]].numpy()  # type: ignore[operator]
    actual = CopySynthesis(TorchEngine(nsf)).process(x.numpy())
    np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


def test_output_never_depends_on_input_after_its_latency(model: CopySynthesis) -> None:
    x = speech(model)
    before = model.process(x)
    for at in (3100, 3517):
        changed = x.copy()
        changed[..., at:] = speech(model, seed=7)[..., at:] * 0.5 + 0.1
        after = model.process(changed)
        untouched = at - model.latency
        if untouched > 0:
            difference = np.abs(before - after)[..., :untouched].max()
            assert difference <= 1e-6 * np.abs(before).max()
        assert not np.array_equal(before, after)


def test_a_live_stream_lags_as_much_as_it_says(model: CopySynthesis) -> None:
    if not model.causal:
        pytest.skip("is streamed in segments")
    streamer, x = make_streamer(model), speech(model, 6 * model.hop_length + model.latency)
    got, lags = 0, []
    for fed in range(1, x.shape[-1] + 1):
        got += streamer.feed(x[..., fed - 1 : fed]).shape[-1]
        lags.append(fed - got)
    assert streamer.latency - model.hop_length < max(lags) <= streamer.latency


@pytest.mark.parametrize("length", [0, 1, 31, 63, 64, 65, 200])
def test_short_streams_keep_their_length(model: CopySynthesis, length: int) -> None:
    x = speech(model, max(length, 1))[..., :length]
    streamer = make_streamer(model)
    output = np.concatenate((streamer.feed(x), streamer.flush()), axis=-1)
    assert output.shape[-1] == length
    assert np.isfinite(output).all()


def test_streamers_follow_the_vocoder() -> None:
    assert isinstance(make_streamer(CopySynthesis(TorchEngine(vocoder("vocos")))), CausalStreamer)
    assert isinstance(
        make_streamer(CopySynthesis(TorchEngine(vocoder("hifigan", **HIFIGAN)))), OverlapAddStreamer
    )


def test_pipeline_takes_any_rate_and_channels() -> None:
    pipeline = Pipeline(TorchEngine(vocoder("vocos")), "vocode")
    waveform = speech_like(0.4, 44100, channels=2)
    output = pipeline(waveform, 44100)
    assert output.shape == waveform.shape
    blocks = list(pipeline.stream(np.array_split(waveform, 7, axis=1), 44100))
    joined = np.concatenate(blocks, axis=-1)
    assert np.abs(joined - output).max() <= 1e-5 * np.abs(output).max()


def test_a_state_goes_on_alone_after_it_was_put_into_a_batch() -> None:
    engine = CopySynthesis(TorchEngine(vocoder("vocos")))
    state, x = engine.start(), speech_like(0.2, engine.sample_rate)[None]
    expected, _ = engine.step(x, state)
    engine.batch(1).insert((0,), state)
    np.testing.assert_array_equal(engine.step(x, state)[0], expected)


def test_a_codecs_features_cannot_be_analysed() -> None:
    codec = MODELS.get("vocos").from_config(
        {
            "mel": None,
            "input_channels": 5,
            "sample_rate": 8000,
            "hop_length": 32,
            "n_fft": 128,
            "dim": 16,
            "intermediate_dim": 24,
            "num_layers": 1,
            "padding": "same",
        }
    )
    with pytest.raises(CheckpointError, match="5 features of a codec"):
        CopySynthesis(TorchEngine(codec))
    with pytest.raises(CheckpointError, match="5 features of a codec"):
        Pipeline(TorchEngine(codec), "vocode")(np.zeros(100, np.float32), 8000)


@pytest.mark.parametrize("hop_length", [80, 1000])
def test_streamed_f0_is_the_whole_files(hop_length: int) -> None:
    x = torch.from_numpy(speech_like(0.6, 16000))
    expected = fundamental_frequency(x, 16000, hop_length)
    assert expected.shape[-1] == x.shape[-1] // hop_length + 1
    assert (expected > 0).any()
    tracker, state, parts = PitchTracker(16000, hop_length), None, []
    for n, block in enumerate(x.split([1, 0, 700, 33, x.shape[-1] - 734], dim=-1)):
        frames, state = tracker.step(block, state, final=n == 4)
        parts.append(frames)
    assert torch.allclose(torch.cat(parts, dim=-1), expected, atol=1e-3)
