"""Tiny vocoders, mels for them, and their command in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typer.testing import Result

from audiotool.dsp.mel_spectrogram import MelSpectrogram
from audiotool.models.base import Model
from audiotool.models.registry import MODELS
from audiotool.models.wavenet import WaveNet
from kit.audio import speech_like
from kit.checkpoints import save_model
from kit.command import run_command

MEL = {"sample_rate": 8000, "n_fft": 128, "hop_length": 32, "n_mels": 6, "padding": "same"}
VOCOS = {"padding": "same", "n_fft": 128, "dim": 16, "intermediate_dim": 24, "num_layers": 2, "causal": True}
NSF = {
    "mel": {"sample_rate": 16000, "n_fft": 64, "hop_length": 8, "n_mels": 6},
    "hidden_dim": 8,
    "blstm_dim": 8,
    "filter_blocks": 2,
    "convs_per_block": 4,
    "harmonics": 4,
    "backward_block": 5,
    "backward_lookahead": 7,
}
WAVENET = WaveNet.small | {
    "mel": {"sample_rate": 8000, "n_fft": 64, "hop_length": 8, "n_mels": 6},
    "upsample_scales": [4, 2],
    "cin_pad": 1,
}


def save_vocoder(path: Path, name: str, config: dict[str, Any]) -> Model:
    """Write a vocoder with random weights as a checkpoint, and return it."""
    torch.manual_seed(0)
    model = MODELS.get(name).from_config(config).eval()
    save_model(path, model, "vocode")
    return model


def make_mel(definition: Any = MEL, seconds: float = 0.5) -> np.ndarray:
    """Return the mel (n_mels, frames) of synthetic speech."""
    analysis = MelSpectrogram(definition)
    waveform = torch.from_numpy(speech_like(seconds, analysis.config.sample_rate))
    return analysis(waveform)[0].numpy()


def features(frames: int, batch: int = 1) -> Tensor:
    """Return random features (batch, 6, frames), the same for each number of frames."""
    return torch.randn(batch, 6, frames, generator=torch.Generator().manual_seed(frames))


def spoken(model: Model, mel: np.ndarray) -> np.ndarray:
    """Return the waveform (time,) of features (bands, frames), made of all frames at once."""
    with torch.inference_mode():
        return model.process(torch.from_numpy(mel)[None])[0, 0].numpy()


def run(*arguments: str | Path) -> Result:
    """Run `audiotool vocode`."""
    return run_command("vocode", *arguments)


def run_well(*arguments: str | Path) -> Result:
    """Run `audiotool vocode`, which succeeds."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result
