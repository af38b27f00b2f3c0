"""The bundled vocoder says the demo recording again, better than Griffin-Lim, streamed as whole."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from kit.streams import stream

import audiotool
from audiotool import checkpoint
from audiotool.audio.reader import read
from audiotool.dsp.griffin_lim import griffin_lim
from audiotool.dsp.mel_spectrogram import MelSpectrogram
from audiotool.metrics.score import score
from audiotool.models.vocoder import Vocoder
from audiotool.streaming.resample import StreamingResampler

DEMO = Path(__file__).parent / "data" / "audio" / "demo" / "clean.flac"


@pytest.fixture(scope="module")
def vocoder() -> Vocoder:
    model = audiotool.load_model(checkpoint.default_for("vocode"))
    assert isinstance(model, Vocoder)
    return model


@pytest.fixture(scope="module")
def speech(vocoder: Vocoder) -> torch.Tensor:
    """Four seconds of the demo at the vocoder's rate, (1, T)."""
    waveform, rate = read(DEMO)
    resampler = StreamingResampler(rate, vocoder.sample_rate, 1)
    parts = resampler.feed(waveform[:, : 4 * rate]), resampler.flush()
    return torch.from_numpy(np.concatenate(parts, axis=1))


@torch.inference_mode()
def test_it_scores_better_than_griffin_lim(vocoder: Vocoder, speech: torch.Tensor) -> None:
    mel = MelSpectrogram(vocoder.mel)(speech)
    spoken = {"vocoder": vocoder.process(mel)[0, 0], "griffin-lim": griffin_lim(mel, vocoder.mel)[0]}
    scores = {
        name: score(speech[0].numpy(), y.numpy(), vocoder.sample_rate, ["pesq", "stoi"])
        for name, y in spoken.items()
    }
    for metric, margin in {"pesq": 0.1, "stoi": 0.0}.items():
        ours, theirs = (scores[name][metric].value for name in spoken)
        assert ours is not None
        assert theirs is not None
        assert ours > theirs + margin, metric


@torch.inference_mode()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 1e-3)])
def test_streamed_equals_whole(
    vocoder: Vocoder, speech: torch.Tensor, dtype: torch.dtype, tolerance: float
) -> None:
    """Exactly so; the phase's iterations amplify what single precision rounds, each CPU in its own way."""
    mel = MelSpectrogram(vocoder.mel)(speech).to(dtype)
    vocoder = copy.deepcopy(vocoder).to(dtype)
    assert vocoder.latency / vocoder.sample_rate < 0.3
    whole = vocoder.process(mel)
    streamer = stream(vocoder)
    parts = [streamer.feed(block) for block in mel.split(17, dim=-1)]
    streamed = torch.cat([*parts, streamer.flush()], dim=-1)
    assert (streamed - whole).norm() <= tolerance * whole.norm()
