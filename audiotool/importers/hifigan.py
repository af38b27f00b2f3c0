"""Official HiFi-GAN generators: `g_XXXXXXXX` or `generator_v1`, and their `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from audiotool.importers.base import Importer, Options, entries, entry, read_config, require, state_dict
from audiotool.importers.mel import official_mel
from audiotool.models.layers.weight_norm import fold_weights

NETWORK = (
    "upsample_rates",
    "upsample_kernel_sizes",
    "upsample_initial_channel",
    "resblock_kernel_sizes",
    "resblock_dilation_sizes",
)
"""Official configuration keys that keep their names."""

MEL = {
    "sampling_rate": "sample_rate",
    "n_fft": "n_fft",
    "hop_size": "hop_length",
    "win_size": "win_length",
    "num_mels": "n_mels",
    "fmin": "fmin",
    "fmax": "fmax",
}
"""Official keys of the mel -> those of `MelConfig`."""

TRAINING = (
    *("num_gpus", "batch_size", "learning_rate", "adam_b1", "adam_b2", "lr_decay", "seed", "segment_size"),
    *("num_freq", "fmax_for_loss", "num_workers", "dist_config"),
)
"""Options that concern training only."""


def mel_definition(
    values: Mapping[str, Any], source: str, names: Mapping[str, str] = MEL
) -> str | dict[str, Any]:
    """Return the mel of a HiFi-GAN style configuration, as `official_mel`.

    Args:
        names: official keys of the mel -> those of `MelConfig`.
    """
    fields = entries(values, names, source)
    return official_mel({**fields, "power_offset": 1e-9, "padding": "same"}, names, source)


def generator_values(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the values that HiFi-GAN and BigVGAN share; the weights are folded."""
    network = {key: entry(values, key, source=source) for key in NETWORK}
    resblock = str(entry(values, "resblock", source=source))
    return {**network, "resblock": resblock, "mel": mel_definition(values, source), "weight_norm": False}


class HiFiGANImporter(Importer):
    """Files with weight norm and files where it was removed are both read."""

    name = "hifigan"
    origin = "github.com/jik876/hifi-gan"
    licence = "MIT"
    task = "vocode"
    signature = ("conv_pre.", "ups.0.", "resblocks.0.convs", "conv_post.")
    options = (Options("config.json", taken=("resblock", *NETWORK, *MEL), unused=TRAINING, closed=False),)

    def weights(self, official: Any) -> dict[str, Tensor]:
        return fold_weights(state_dict(official, "generator"))

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        path = require(config, "config.json")
        return generator_values(read_config(path), str(path))
