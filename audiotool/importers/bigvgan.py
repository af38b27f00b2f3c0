"""Official BigVGAN generators: `bigvgan_generator.pt` or `g_XXXXXXXX`, and their `config.json`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audiotool.errors import CheckpointError
from audiotool.importers.base import Importer, Options, entry, read_config, require, state_dict
from audiotool.importers.hifigan import MEL, NETWORK, TRAINING, generator_values
from audiotool.models.layers.antialias import AntiAliased
from audiotool.models.layers.weight_norm import fold_weights


class BigVGANImporter(Importer):
    """Anti-aliasing filters are computed, not read: the file's copies of them are compared, and left out."""

    name = "bigvgan"
    origin = "github.com/NVIDIA/BigVGAN"
    licence = "MIT"
    task = "vocode"
    signature = ("conv_pre.", "ups.0.0.", "resblocks.0.activations.", "activation_post.", "conv_post.")
    options = (
        Options(
            "config.json",
            taken=(
                *("resblock", *NETWORK, *MEL, "activation", "snake_logscale"),
                *("use_tanh_at_final", "use_bias_at_final"),
            ),
            unused=(*TRAINING, "resolutions", "mpd_reshapes", "use_spectral_norm", "lambda_melloss"),
            closed=False,
        ),
    )

    def weights(self, official: Any) -> dict[str, Tensor]:
        tensors, taps = state_dict(official, "generator"), AntiAliased(nn.Identity()).taps
        for key, value in tensors.items():
            if key.endswith(".filter") and not _is_close(value.flatten().float(), taps):
                raise CheckpointError(
                    f"{key} differs from the published filter: this BigVGAN cannot be imported"
                )
        return {
            re.sub(r"^ups\.(\d+)\.0\.", r"ups.\1.", key): value
            for key, value in fold_weights(tensors).items()
            if not key.endswith(".filter")
        }

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        path = require(config, "config.json")
        values = read_config(path)
        return {
            **generator_values(values, str(path)),
            "activation": entry(values, "activation", source=str(path)),
            "snake_logscale": entry(values, "snake_logscale", source=str(path)),
            "use_tanh_at_final": values.get("use_tanh_at_final", True),
            "use_bias_at_final": values.get("use_bias_at_final", True),
        }


def _is_close(found: Tensor, taps: Tensor) -> bool:
    """Return whether these are the taps, but for the rounding to half precision."""
    return found.shape == taps.shape and torch.allclose(found, taps, rtol=0, atol=2e-3)
