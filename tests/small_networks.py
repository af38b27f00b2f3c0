"""Settings that make every registered model small: to be laid over its published ones or a recipe's."""

from __future__ import annotations

from typing import Any

FILM = {
    "filters": [4, 8],
    "kernel_sizes": [5, 3],
    "bottleneck_filters": 8,
    "bottleneck_kernel_size": 3,
    "patch_length": 512,
    "first_block": 8,
    "dropout": 0.0,
}
UPSAMPLER = {
    "upsample_rates": [16, 16],
    "upsample_kernel_sizes": [32, 32],
    "upsample_initial_channel": 16,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
}
PERIODWAVE = {"periods": [1, 2], "hidden_dim": 32, "embedding_dim": 16, "steps": 2}

SMALL: dict[str, dict[str, Any]] = {
    "afilm": {**FILM, "heads": 2, "transformer_layers": 1, "transformer_inner_dim": 16},
    "tfilm": FILM,
    "band-split-gru": {"dim": 8, "layers": 1},
    "bigvgan": UPSAMPLER,
    "hifigan": UPSAMPLER,
    "ca-dense-unet": {
        "n_fft": 128,
        "hop_length": 32,
        "channels": [4, 4],
        "growth": 4,
        "dense_layers": 1,
        "embedding": 4,
    },
    "cleanunet": {
        "channels_h": 4,
        "max_channels": 8,
        "n_layers": 3,
        "kernel_size": 8,
        "stride": 4,
        "transformer_layers": 1,
        "transformer_heads": 2,
        "transformer_dim": 16,
        "transformer_inner_dim": 32,
    },
    "conv-tasnet": {
        "filters": 32,
        "bottleneck_channels": 16,
        "hidden_channels": 24,
        "skip_channels": 16,
        "blocks": 3,
        "stacks": 1,
    },
    "gtcrn": {},
    "harmonic-vocoder": {"dim": 16, "intermediate_dim": 24, "num_layers": 1, "iterations": 2},
    "hybrid-demucs": {"channels": 8, "dconv_attn": 9, "dconv_lstm": 9},
    "mambattention": {"hid_feature": 8, "num_tfmamba": 1, "d_state": 4, "expand": 2},
    "mp-senet": {"dense_channel": 8, "n_blocks": 1},
    "nsf": {"hidden_dim": 8, "blstm_dim": 8, "filter_blocks": 2, "convs_per_block": 2, "harmonics": 2},
    "parallel-wavegan": {
        "layers": 3,
        "stacks": 1,
        "residual_channels": 4,
        "gate_channels": 8,
        "skip_channels": 4,
    },
    "periodwave": PERIODWAVE,
    "periodwave-turbo": PERIODWAVE,
    "personalised-transformer": {"dim": 16, "heads": 2, "blocks": 1, "inner_dim": 32},
    "spectral-convnext": {"dim": 16, "blocks": 1},
    "vocos": {"dim": 16, "intermediate_dim": 24, "num_layers": 1},
    "waveflow": {"n_flows": 2, "n_layers": 2, "channels": 8},
    "waveglow": {"n_flows": 4, "n_early_every": 2, "n_layers": 2, "n_channels": 8},
    "wavenet": {
        "layers": 4,
        "stacks": 2,
        "residual_channels": 8,
        "gate_channels": 12,
        "skip_out_channels": 10,
        "components": 3,
    },
}
