"""What the packs of MP-SENet and of MambAttention have in common."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiotool.losses.magnitude_phase import (
    AntiWrappingPhaseLoss,
    CompressedComplexLoss,
    CompressedMagnitudeLoss,
    ConsistencyLoss,
    LevelledL1Loss,
)
from audiotool.losses.metric import metric_generator_loss
from audiotool.models.discriminators.metric import MetricDiscriminator
from audiotool.models.magnitude_phase import MagnitudePhaseModel

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


def with_official_spectra(model: MagnitudePhaseModel, pack: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the training outputs for the pack's waveforms, with the pack's own spectra of input and target.

    The first and last frame are symmetric by reflection: their imaginary parts are rounding noise, whose sign
    turns the phase of negative bins by 2 pi, and the network takes the phase as a number.
    """
    known = [
        (pack["wav.noisy"] * pack["norm_factor"], pack["stft.noisy_mag"], pack["stft.noisy_pha"]),
        (pack["wav.clean"] * pack["norm_factor"], pack["stft.clean_mag"], pack["stft.clean_pha"]),
    ]
    analyse = model.transform.analyse

    def look_up(waveform: Tensor) -> tuple[Tensor, Tensor]:
        for wave, mag, phase in known:
            if torch.allclose(waveform, wave, rtol=1e-5, atol=1e-6):
                return mag, phase
        return analyse(waveform)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(model.transform, "analyse", look_up)
        return model.training_outputs(
            {"input": pack["wav.noisy"][:, None], "target": pack["wav.clean"][:, None]}
        )


def assert_official_losses(
    outputs: dict[str, Tensor],
    pack: dict[str, Tensor],
    phase_loss: AntiWrappingPhaseLoss,
    discriminator: MetricDiscriminator,
) -> None:
    """Compare the terms of the generator's loss, and their weighted sum, with the pack's."""
    phases = torch.stack(phase_loss.terms(outputs["phase"], outputs["target_phase"]))
    torch.testing.assert_close(phases, pack["loss.phase_ip_gd_iaf"], rtol=1e-4, atol=0)
    terms = [
        CompressedMagnitudeLoss()(outputs, {}),
        CompressedComplexLoss()(outputs, {}),
        ConsistencyLoss()(outputs, {}),
        LevelledL1Loss()(outputs, {}),
        metric_generator_loss(discriminator, outputs),
    ]
    reference = pack["loss.mag_com_consistency_time_metric"]
    torch.testing.assert_close(torch.stack(terms), reference, rtol=1e-4, atol=0)
    weights = (0.9, 0.1, 0.1, 0.2, 0.05)
    total = 0.3 * phase_loss(outputs, {}) + sum(w * t for w, t in zip(weights, terms, strict=True))
    torch.testing.assert_close(total, pack["loss.gen_total"], rtol=1e-4, atol=0)
