"""WaveNet files of r9y9/wavenet_vocoder: `checkpoint_stepXXX.pth` and its JSON, mixture of logistics only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from audiotool.importers.base import Options, entry, read_config, require, state_dict
from audiotool.importers.parallel_wavegan import (
    UPSAMPLING,
    StatisticsImporter,
    mel_definition,
    upsampling_values,
)
from audiotool.models.layers.weight_norm import fold_weights

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

SUPPORTED = {
    "input_type": ("raw",),
    "output_distribution": ("Logistic",),
    "gin_channels": (-1,),
    "preprocess": ("", "preemphasis"),
    "postprocess": ("", "inv_preemphasis"),
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
            taken=(*NETWORK, *MEL, "win_length", "out_channels", "upsample_net", "global_gain_scale"),
            fixed=SUPPORTED,
            unused=("cin_channels", "quantize_channels", "batch_size", "optimizer_params"),
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
        return {
            **{key: entry(values, key, source=str(path)) for key in NETWORK},
            **upsampling_values(values, str(path)),
            "components": entry(values, "out_channels", source=str(path)) // 3,
            "preemphasis": PREEMPHASIS if values.get("preprocess") == "preemphasis" else 0.0,
            "gain": values.get("global_gain_scale", 1.0),
            "mel": mel_definition(values, str(path), MEL),
            "weight_norm": False,
        }
