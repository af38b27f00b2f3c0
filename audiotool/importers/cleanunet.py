"""Official CleanUNet checkpoints: `<iteration>.pkl` or `pretrained.pkl`, and their training JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from audiotool.importers.base import Importer, Options, entries, entry, read_config, require, state_dict

NAMES = {
    "channels_input": "channels_input",
    "channels_output": "channels_output",
    "channels_H": "channels_h",
    "max_H": "max_channels",
    "encoder_n_layers": "n_layers",
    "kernel_size": "kernel_size",
    "stride": "stride",
    "tsfm_n_layers": "transformer_layers",
    "tsfm_n_head": "transformer_heads",
    "tsfm_d_model": "transformer_dim",
    "tsfm_d_inner": "transformer_inner_dim",
}
"""Official configuration keys -> those of `CleanUNetConfig`."""


class CleanUNetImporter(Importer):
    """Attention keeps our default window of ten seconds, the length of the official training crops; import
    with `attention_window` null for the unbounded past of the published network."""

    name = "cleanunet"
    origin = "github.com/NVIDIA/CleanUNet"
    licence = "MIT"
    signature = ("encoder.0.0.weight", "tsfm_conv1.weight", "slf_attn.w_qs.weight")
    options = (
        Options("network_config", taken=tuple(NAMES)),
        Options("trainset_config", taken=("sample_rate",), unused=("root", "crop_length_sec"), closed=False),
    )

    def weights(self, official: Any) -> dict[str, Tensor]:
        return state_dict(official, "model_state_dict")

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        path = require(config, "DNS-large-full.json")
        values = read_config(path)
        network = entry(values, "network_config", source=str(path))
        self.options[0].check(network, str(path))
        result = entries(network, NAMES, str(path))
        result["sample_rate"] = values.get("trainset_config", {}).get("sample_rate", 16000)
        return result
