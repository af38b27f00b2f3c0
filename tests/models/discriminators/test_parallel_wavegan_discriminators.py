"""Discriminators of Parallel WaveGAN and MelGAN: official judgements, sizes, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from kit.parity import relative_error
from safetensors.torch import load_file
from torch import Tensor

from audiotool.importers.torch_file import read_torch
from audiotool.losses.adversarial import discriminator_loss, generator_loss
from audiotool.models.discriminators.base import DISCRIMINATORS, Discriminator
from audiotool.models.discriminators.melgan import MelGANDiscriminator
from audiotool.models.discriminators.parallel_wavegan import (
    ParallelWaveGANDiscriminator,
    ResidualParallelWaveGANDiscriminator,
)
from audiotool.models.layers.weight_norm import fold_weights

PACKS = Path(__file__).parents[2] / "data" / "parity" / "parallel_wavegan"


def official(pack: str, discriminator: Discriminator) -> dict[str, Tensor]:
    file = read_torch(PACKS / pack / "checkpoint-400000steps.pkl")
    discriminator.load_state_dict(fold_weights(file["model"]["discriminator"]))
    return load_file(PACKS / pack / "io.safetensors")


def test_official_sample_judgements() -> None:
    discriminator = ParallelWaveGANDiscriminator(layers=6, conv_channels=16, weight_norm=False)
    io = official("v1_small", discriminator)
    with torch.no_grad():
        for waveform, expected in ((io["target"], io["disc_real_0"]), (io["output"], io["disc_fake_0"])):
            ((logits, features),) = discriminator(waveform)
            assert relative_error(logits, expected) <= 1e-4
            assert [f.shape[1] for f in features] == [16] * 5


def test_official_scale_judgements() -> None:
    discriminator = MelGANDiscriminator(
        scales=2, channels=8, max_downsample_channels=32, downsample_scales=(4, 4), weight_norm=False
    )
    io = official("v3_causal_melgan_disc", discriminator)
    with torch.no_grad():
        for waveform, kind in ((io["target"], "real"), (io["output"], "fake")):
            for n, (logits, features) in enumerate(discriminator(waveform)):
                assert relative_error(logits, io[f"disc_{kind}_{5 * n + 4}"]) <= 1e-4
                assert relative_error(features[-1], io[f"disc_{kind}_{5 * n + 3}"]) <= 1e-4
                assert len(features) == 4


def test_official_judgements_of_the_residual_discriminator() -> None:
    discriminator = ResidualParallelWaveGANDiscriminator(
        layers=4,
        stacks=2,
        residual_channels=8,
        gate_channels=16,
        skip_channels=8,
        bias=False,
        use_causal_conv=True,
        nonlinear_activation="ELU",
        nonlinear_activation_params={"alpha": 0.7},
        weight_norm=False,
    )
    io = official("activation_residual_disc", discriminator)
    with torch.no_grad():
        for waveform, expected in ((io["target"], io["disc_real_0"]), (io["output"], io["disc_fake_0"])):
            assert relative_error(discriminator(waveform)[0][0], expected) <= 1e-4


def test_parameters() -> None:
    assert sum(p.numel() for p in ParallelWaveGANDiscriminator().parameters()) == 99_842


def test_residual_discriminator_judges_every_sample() -> None:
    discriminator = ResidualParallelWaveGANDiscriminator(layers=4, stacks=2, residual_channels=8)
    ((logits, features),) = discriminator(torch.randn(2, 1, 100))
    assert logits.shape == (2, 1, 100)
    assert [f.shape for f in features] == [(2, 8, 100)] * 4
    logits.mean().backward()
    # The last block's residual leads nowhere.
    unused = [name for name, p in discriminator.named_parameters() if p.grad is None]
    assert all(name.startswith("conv_layers.3.conv1x1_out.") for name in unused)


def test_found_by_name() -> None:
    assert DISCRIMINATORS.get("melgan") is MelGANDiscriminator
    assert DISCRIMINATORS.get("parallel-wavegan") is ParallelWaveGANDiscriminator


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ParallelWaveGANDiscriminator, {"kernel_size": 4}),
        (ResidualParallelWaveGANDiscriminator, {"layers": 5}),
        (MelGANDiscriminator, {"channels": 6}),
    ],
)
def test_sizes_that_do_not_fit(kind: type[Discriminator], values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must be|no centre"):
        kind(**values)


@pytest.mark.parametrize("pack", ["v1_small", "v3_causal_melgan_disc"])
def test_official_adversarial_losses(pack: str) -> None:
    discriminator: Discriminator = (
        ParallelWaveGANDiscriminator(layers=6, conv_channels=16, weight_norm=False)
        if pack == "v1_small"
        else MelGANDiscriminator(2, (5, 3), 8, 32, (4, 4), weight_norm=False)
    )
    io = official(pack, discriminator)
    with torch.no_grad():
        real, fake = discriminator(io["target"]), discriminator(io["output"])
    kind: Any
    for kind, suffix in (("least-squares", ""), ("hinge-linear", "_hinge")):
        assert torch.isclose(generator_loss(fake, kind, "mean"), io[f"loss.gen_adv{suffix}"], rtol=1e-4)
        expected = io[f"loss.dis_real_fake{suffix}"].sum()
        assert torch.isclose(discriminator_loss(real, fake, kind, "mean"), expected, rtol=1e-4)
