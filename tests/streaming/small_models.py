"""A small version of every registered model that streams, for the tests that hold them to the contract.

A causal model that is not named here is tested with its default configuration: adding a model needs no change
to these tests, only a slow one deserves an entry.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from audiotool.models.base import Model
from audiotool.models.registry import MODELS

FILM = {
    "filters": (4, 8),
    "kernel_sizes": (5, 3),
    "bottleneck_filters": 8,
    "bottleneck_kernel_size": 3,
    "patch_length": 512,
    "first_block": 8,
}

SMALL: dict[str, dict[str, Any]] = {
    "afilm": {**FILM, "heads": 2, "transformer_layers": 1, "transformer_inner_dim": 16},
    "tfilm": FILM,
    "band-split-gru": {"dim": 8, "layers": 2},
    "ca-dense-unet": {
        "microphones": 2,
        "n_fft": 128,
        "hop_length": 32,
        "channels": (6, 8, 8),
        "growth": 4,
        "dense_layers": 2,
    },
    "cleanunet": {
        "channels_h": 4,
        "max_channels": 8,
        "n_layers": 3,
        "kernel_size": 8,
        "stride": 4,
        "transformer_layers": 2,
        "transformer_heads": 2,
        "transformer_dim": 16,
        "transformer_inner_dim": 32,
        "attention_window": 40,
        "normalise": "running",
    },
    "conv-tasnet": {
        "filters": 32,
        "bottleneck_channels": 16,
        "hidden_channels": 24,
        "skip_channels": 16,
        "blocks": 3,
        "stacks": 2,
    },
    "harmonic-vocoder": {
        "mel": {"sample_rate": 8000, "n_fft": 128, "hop_length": 32, "n_mels": 12, "padding": "same"},
        "dim": 16,
        "intermediate_dim": 24,
        "num_layers": 2,
        "pitch_bins": 16,
        "iterations": 3,
    },
    "hybrid-demucs": {
        "sources": ("speech",),
        "sample_rate": 8000,
        "channels": 8,
        "n_fft": 1024,
        "depth": 5,
        "dconv_attn": 9,
        "dconv_lstm": 9,
    },
    "mambattention": {
        "hid_feature": 8,
        "num_tfmamba": 1,
        "d_state": 4,
        "expand": 2,
        "n_fft": 64,
        "hop_length": 16,
        "win_length": 64,
    },
    "mp-senet": {"dense_channel": 8, "n_blocks": 1, "n_fft": 64, "hop_length": 16, "win_length": 64},
    "nsf": {
        "mel": {"sample_rate": 16000, "n_fft": 64, "hop_length": 8, "n_mels": 6},
        "hidden_dim": 8,
        "blstm_dim": 8,
        "filter_blocks": 2,
        "convs_per_block": 4,
        "harmonics": 4,
        "backward_block": 5,
        "backward_lookahead": 7,
    },
    "personalised-transformer": {"dim": 16, "heads": 2, "blocks": 2, "inner_dim": 32, "window": 20},
    "spectral-convnext": {"dim": 24, "blocks": 2},
    "vocos": {
        "mel": {"sample_rate": 8000, "n_fft": 128, "hop_length": 32, "n_mels": 6, "padding": "same"},
        "causal": True,
        "padding": "same",
        "n_fft": 128,
        "dim": 16,
        "intermediate_dim": 24,
        "num_layers": 2,
    },
    "wavenet": {
        "mel": {"sample_rate": 8000, "n_fft": 64, "hop_length": 8, "n_mels": 6},
        "layers": 4,
        "stacks": 2,
        "residual_channels": 8,
        "gate_channels": 12,
        "skip_out_channels": 10,
        "components": 3,
        "upsample_scales": [4, 2],
        "cin_pad": 1,
    },
}


LARGEST = 2_000_000
"""Weights a model may have here."""


def build(name: str, **changes: Any) -> Model:
    """The small version with random weights, the same in every test."""
    torch.manual_seed(0)
    model = MODELS.get(name).from_config({**SMALL.get(name, {}), **changes}).eval()
    assert model.parameter_count < LARGEST, f"{name} is slow to test: give it a small configuration in SMALL"
    return model


def is_causal(name: str) -> bool:
    """Whether the small version streams; families share a `step` that some of their members do not use."""
    if MODELS.get(name).step is Model.step:
        return False
    try:
        with torch.device("meta"):
            return MODELS.get(name).from_config(SMALL.get(name, {})).causal
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
