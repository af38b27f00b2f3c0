"""A small version of every registered model, for the tests that hold them to the streaming contract.

A model brings its small configuration along (`Model.small`); one without is tested as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from audiotool.models.base import Model
from audiotool.models.registry import MODELS

STREAMED: dict[str, dict[str, Any]] = {
    "band-split-gru": {"layers": 2},
    "ca-dense-unet": {"microphones": 2, "channels": (6, 8, 8), "dense_layers": 2},
    "cleanunet": {"transformer_layers": 2, "attention_window": 40, "normalise": "running"},
    "conv-tasnet": {"stacks": 2},
    "harmonic-vocoder": {
        "mel": {"sample_rate": 8000, "n_fft": 128, "hop_length": 32, "n_mels": 12, "padding": "same"},
        "num_layers": 2,
        "pitch_bins": 16,
        "iterations": 3,
    },
    "hybrid-demucs": {"sources": ("speech",), "sample_rate": 8000, "n_fft": 1024, "depth": 5},
    "mambattention": {"n_fft": 64, "hop_length": 16, "win_length": 64},
    "mp-senet": {"n_fft": 64, "hop_length": 16, "win_length": 64},
    "nsf": {
        "mel": {"sample_rate": 16000, "n_fft": 64, "hop_length": 8, "n_mels": 6},
        "convs_per_block": 4,
        "harmonics": 4,
        "backward_block": 5,
        "backward_lookahead": 7,
    },
    "personalised-transformer": {"blocks": 2, "window": 20},
    "spectral-convnext": {"dim": 24, "blocks": 2},
    "vocos": {
        "mel": {"sample_rate": 8000, "n_fft": 128, "hop_length": 32, "n_mels": 6, "padding": "same"},
        "causal": True,
        "padding": "same",
        "n_fft": 128,
        "num_layers": 2,
    },
    "waveglow": {
        "mel": {"sample_rate": 8000, "n_fft": 128, "hop_length": 32, "n_mels": 6},
        "upsample_kernel": 64,
    },
    "wavenet": {
        "mel": {"sample_rate": 8000, "n_fft": 64, "hop_length": 8, "n_mels": 6},
        "upsample_scales": [4, 2],
        "cin_pad": 1,
    },
}
"""Overrides of `Model.small` for the tests of streams: an option that makes the model causal,
windows that end within a second, two layers of a kind. A model needs no entry."""


LARGEST = 2_000_000
"""Weights a model may have here."""


def configuration(name: str) -> dict[str, Any]:
    """Configuration of the small version."""
    return {**MODELS.get(name).small, **STREAMED.get(name, {})}


def build(name: str, **changes: Any) -> Model:
    """The small version with random weights, the same in every test."""
    torch.manual_seed(0)
    model = MODELS.get(name).from_config({**configuration(name), **changes}).eval()
    assert model.parameter_count < LARGEST, f"{name} is slow to test: give its class a smaller `small`"
    return model


def is_causal(name: str) -> bool:
    """Whether the small version streams; families share a `step` that some of their members do not use."""
    if MODELS.get(name).step is Model.step:
        return False
    try:
        with torch.device("meta"):
            return MODELS.get(name).from_config(configuration(name)).causal
    except RuntimeError:
        # Some constants are computed as the model is built, which needs real memory.
        return build(name).causal


CAUSAL = [name for name in MODELS.all() if is_causal(name)]
"""Every registered model that keeps the streaming contract."""

WAVEFORM_SECONDS = 1.2
FEATURE_FRAMES = 130


def make_input(model: Model, length: int | None = None, seed: int = 0, batch: int = 1) -> Tensor:
    """(batch, input channels, length): noise that pulses for waveforms, random features for vocoders."""
    generator = torch.Generator().manual_seed(seed)
    if model.upsampling == 1:
        length = round(WAVEFORM_SECONDS * model.sample_rate) + 13 if length is None else length
        pulse = 0.6 + 0.4 * torch.sin(torch.arange(length) * (20 / model.sample_rate))
        return 0.1 * pulse * torch.randn(batch, model.input_channels, length, generator=generator)
    length = FEATURE_FRAMES if length is None else length
    features = torch.randn(batch, model.input_channels, length, generator=generator)
    if model.name == "nsf":
        # Its last feature is F0 in Hz, 0 where unvoiced.
        voiced = torch.rand(batch, length, generator=generator) > 0.3
        features[:, -1] = (features[:, -1] * 20 + 200) * voiced
    return features
