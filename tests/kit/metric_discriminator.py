"""The metric discriminator with official weights."""

from __future__ import annotations

from pathlib import Path

import torch

from audiotool.models.discriminators.metric import MetricDiscriminator

SPECTRAL_NORM = {
    "weight_orig": "parametrizations.weight.original",
    "weight_u": "parametrizations.weight.0._u",
    "weight_v": "parametrizations.weight.0._v",
}


def official_discriminator(path: Path) -> MetricDiscriminator:
    """Read the discriminator of an official `do_<step>` file."""
    renamed = {}
    for name, value in torch.load(path, weights_only=True)["discriminator"].items():
        layer, _, leaf = name.rpartition(".")
        renamed[f"{layer}.{SPECTRAL_NORM.get(leaf, leaf)}"] = value
    discriminator = MetricDiscriminator()
    discriminator.load_state_dict(renamed)
    return discriminator.eval()
