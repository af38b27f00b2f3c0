"""WaveNet files of r9y9/wavenet_vocoder: `checkpoint_stepXXX.pth` and its JSON, mixture of logistics only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from audiotool.errors import CheckpointError
from audiotool.importers.base import Options, entry, read_config, require, state_dict
from audiotool.importers.parallel_wavegan import (
    UPSAMPLING,
    StatisticsImporter,
    mel_definition,
    upsampling_values,
)
from audiotool.models.layers.weight_norm import fold_weights
from audiotool.value_types import quote

PREEMPHASIS = 0.85
"""Coefficient of the official pre-emphasis, which the configuration does not hold."""

MEL = {
    "sample_rate": "sample_rate",
    "fft_size": "n_fft",
    "hop_size": "hop_length",
    "num_mels": "n_mels",
    "fmin": "fmin",
    "fmax": "fmax",
}
"""Official keys of the mel -> those of `MelConfig`."""

NETWORK = (
    "kernel_size",
    "layers",
    "stacks",
    "residual_channels",
    "gate_channels",
    "skip_out_channels",
    "cin_pad",
    "dropout",
    "log_scale_min",
)
"""Official keys that keep their names."""

NOTHING = ("", "none", None)
"""Official values of an option that names a function, where there is none."""

SUPPORTED = {
    "input_type": ("raw",),
    "output_distribution": ("Logistic",),
    "gin_channels": (-1, 0),
    "window": ("hann",),
    "postprocess": (*NOTHING, "inv_preemphasis"),
    "upsample_conditional_features": (True,),
    "legacy": (False,),
}
"""Options -> values of this model; other values make another network."""


class WaveNetImporter(StatisticsImporter):
    """Imports the folded weights and the statistics of its mels."""

    name = "wavenet"
    origin = "github.com/r9y9/wavenet_vocoder"
    licence = "MIT"
    task = "vocode"
    signature = ("first_conv.", "upsample_net.conv_in", "conv1x1c")
    options = (
        Options(
            "hparams.json",
            taken=(
                *(*NETWORK, *MEL, "win_length", "frame_shift_ms", "win_length_ms", "out_channels"),
                *("upsample_net", "global_gain_scale"),
            ),
            fixed=SUPPORTED,
            # The official synthesis does what postprocess says, whatever was done before training.
            unused=("preprocess", "cin_channels", "quantize_channels", "batch_size", "optimizer_params"),
            closed=False,
        ),
        UPSAMPLING,
    )

    def weights(self, official: Any) -> dict[str, Tensor]:
        tensors = fold_weights(state_dict(official, "state_dict"))
        tensors = {key.replace(".conv1x1c.", ".conv1x1_aux."): value for key, value in tensors.items()}
        return self.with_statistics(tensors)

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        path = require(config, "hparams.json")
        values = read_config(path)
        self.options[0].check(values, str(path))
        gain = values.get("global_gain_scale", 1.0)
        return {
            **{key: entry(values, key, source=str(path)) for key in NETWORK},
            **upsampling_values(values, str(path)),
            "components": entry(values, "out_channels", source=str(path)) // 3,
            "preemphasis": PREEMPHASIS if values.get("postprocess") == "inv_preemphasis" else 0.0,
            "gain": 1.0 if isinstance(gain, int | float) and gain <= 0 else gain,
            "mel": mel_definition({**values, **_lengths(values, str(path))}, str(path), MEL),
            "weight_norm": False,
        }


def _lengths(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return hop and window in samples; a configuration may give them in milliseconds instead."""
    hop, window = (entry(values, key, source=source) for key in ("hop_size", "win_length"))
    return {
        "hop_size": _samples(values, "frame_shift_ms", source) if hop is None else hop,
        "win_length": _samples(values, "win_length_ms", source) if window == -1 else window,
    }


def _samples(values: Mapping[str, Any], key: str, source: str) -> int:
    """Return a number of milliseconds in samples, rounded down as by the official program."""
    milliseconds = entry(values, key, source=source)
    if not isinstance(milliseconds, int | float) or not 0 < milliseconds < math.inf:
        raise CheckpointError(f"{source}: {key}: found {quote(milliseconds)}, should be a length in ms")
    return int(milliseconds / 1000 * entry(values, "sample_rate", source=source))
