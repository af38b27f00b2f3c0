"""Official MambAttention checkpoints: `g_<step>.pth`, and the YAML configuration of their training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from audiotool.importers.base import Importer, Options, entries, entry, read_config, require, state_dict

NAMES = {
    "stft_cfg": {
        "sampling_rate": "sample_rate",
        "n_fft": "n_fft",
        "hop_size": "hop_length",
        "win_size": "win_length",
    },
    "model_cfg": {
        name: name
        for name in (
            *("hid_feature", "compress_factor", "num_tfmamba", "d_state", "d_conv", "expand"),
            *("norm_epsilon", "beta"),
        )
    },
}
"""Official section -> {official key: that of `MambAttentionConfig`}."""


class MambAttentionImporter(Importer):
    """Imports the generator; only training needs the discriminator's file."""

    name = "mambattention"
    origin = "github.com/NikolaiKyhne/MambAttention"
    licence = "MIT"
    signature = ("TFMambAttention.0.time_mamba.forward_blocks.0.mixer.A_log",)
    options = (
        Options("stft_cfg", taken=tuple(NAMES["stft_cfg"]), closed=False),
        Options(
            "model_cfg",
            taken=tuple(NAMES["model_cfg"]),
            # The input is magnitude and phase, the output a mask.
            fixed={"input_channel": (2,), "output_channel": (1,)},
            closed=False,
        ),
    )

    def weights(self, official: Any) -> dict[str, Tensor]:
        return state_dict(official, "generator")

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        path = require(config, "MambAttention.yaml")
        values = read_config(path)
        result: dict[str, Any] = {}
        for options in self.options:
            section = entry(values, options.section, source=str(path))
            options.check(section, str(path))
            result |= entries(section, NAMES[options.section], str(path))
        return result
