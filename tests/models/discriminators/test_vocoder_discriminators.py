"""The vocoders' discriminators equal the official ones, on drawn weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from kit.parity import relative_error
from safetensors.torch import load_file
from torch import Tensor

from audiotool.models.discriminators.base import Discriminator, DiscriminatorOutput
from audiotool.models.discriminators.multi_band import MultiBandDiscriminator
from audiotool.models.discriminators.multi_period import MultiPeriodDiscriminator
from audiotool.models.discriminators.multi_resolution import MultiResolutionDiscriminator
from audiotool.models.discriminators.multi_scale import MultiScaleDiscriminator
from audiotool.models.discriminators.subband_cqt import MultiScaleSubbandCQTDiscriminator

PACKS = Path(__file__).parents[2] / "data" / "parity"
Draw = Callable[..., None]


Pair = tuple[list[DiscriminatorOutput], list[DiscriminatorOutput]]


def judge(discriminator: Discriminator, tensors: dict[str, Tensor]) -> Pair:
    waveforms = [tensors[f"disc.y_{k}"] for k in ("real", "fake")]
    with torch.no_grad():
        real, fake = (discriminator.eval()(w if w.dim() == 3 else w[:, None]) for w in waveforms)
    return real, fake


def assert_logits(
    found: list[DiscriminatorOutput], tensors: dict[str, Tensor], prefix: str, which: str
) -> None:
    for n, (logits, _) in enumerate(found):
        expected = tensors[f"disc.{prefix}.{n}.{which}"]
        assert relative_error(logits, expected) <= 1e-4


def feature_distance(real: list[DiscriminatorOutput], fake: list[DiscriminatorOutput]) -> Tensor:
    """Sum over all features of the mean absolute difference."""
    distances = [
        (a - b).abs().mean()
        for (_, kept), (_, made) in zip(real, fake, strict=True)
        for a, b in zip(kept, made, strict=True)
    ]
    return torch.stack(distances).sum()


def assert_least_squares(
    real: list[DiscriminatorOutput], fake: list[DiscriminatorOutput], tensors: dict[str, Tensor], prefix: str
) -> None:
    on_real = sum((1 - logits).square().mean() for logits, _ in real)
    sums = {
        "disc_loss": on_real + sum(logits.square().mean() for logits, _ in fake),
        "gen_loss": sum((1 - logits).square().mean() for logits, _ in fake),
        "feature_loss_x2": 2 * feature_distance(real, fake),
    }
    for name, value in sums.items():
        torch.testing.assert_close(value, tensors[f"disc.{prefix}.{name}"], rtol=1e-4, atol=0)


@pytest.mark.parametrize("prefix", ["mpd", "msd"])
def test_hifigan(draw_weights: Draw, prefix: str) -> None:
    tensors = load_file(PACKS / "hifigan" / "v1_small" / "io.safetensors")
    discriminator = MultiPeriodDiscriminator() if prefix == "mpd" else MultiScaleDiscriminator()
    start = "disc.msd_buffer."
    given = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
    draw_weights(discriminator, given=given if prefix == "msd" else None)
    real, fake = judge(discriminator, tensors)
    assert_logits(real, tensors, prefix, "real")
    assert_logits(fake, tensors, prefix, "fake")
    assert_least_squares(real, fake, tensors, prefix)
    features = [f for _, listed in real for f in listed]
    means = torch.stack([f.abs().mean() for f in features])
    torch.testing.assert_close(means, tensors[f"disc.{prefix}.fmap_mean_abs_real"], rtol=1e-4, atol=0)


def bigvgan_discriminator(prefix: str) -> tuple[Discriminator, str]:
    narrow = 0.0625
    if prefix == "mpd":
        return MultiPeriodDiscriminator(channel_multiplier=narrow), ""
    if prefix == "mrd":
        return MultiResolutionDiscriminator(channel_multiplier=narrow), ""
    return MultiBandDiscriminator(), "spec_fn.window"


@pytest.mark.parametrize("prefix", ["mpd", "mrd", "mbd"])
def test_bigvgan(draw_weights: Draw, prefix: str) -> None:
    tensors = load_file(PACKS / "bigvgan" / "v2_small" / "io.safetensors")
    discriminator, windows = bigvgan_discriminator(prefix)
    draw_weights(discriminator, windows)
    real, fake = judge(discriminator, tensors)
    assert_logits(real, tensors, prefix, "real")
    assert_logits(fake, tensors, prefix, "fake")
    assert_least_squares(real, fake, tensors, prefix)


def test_bigvgan_constant_q() -> None:
    pack = PACKS / "bigvgan" / "v2_small"
    tensors = load_file(pack / "io.safetensors")
    discriminator = MultiScaleSubbandCQTDiscriminator(24000, filters=16)
    official = torch.load(pack / "cqtd_state_dict.pt", weights_only=True)
    discriminator.load_state_dict(official["cqtd"])
    for part, sizes in zip(discriminator.discriminators, (256, 512, 512), strict=True):
        assert part.transform.kernels.shape[-1] == sizes  # type: ignore[index, union-attr]
    real, fake = judge(discriminator, tensors)
    assert_logits(real, tensors, "cqtd", "real")
    assert_logits(fake, tensors, "cqtd", "fake")
    assert_least_squares(real, fake, tensors, "cqtd")


@pytest.mark.parametrize("prefix", ["mpd", "mrd"])
def test_vocos(draw_weights: Draw, prefix: str) -> None:
    tensors = load_file(PACKS / "vocos" / "mel_istft_center" / "io.safetensors")
    discriminator: Discriminator
    if prefix == "mpd":
        discriminator, windows = MultiPeriodDiscriminator(first_feature=1), ""
    else:
        discriminator, windows = MultiBandDiscriminator(), "spec_fn.window"
    draw_weights(discriminator, windows)
    real, fake = judge(discriminator, tensors)
    assert_logits(real, tensors, prefix, "real")
    assert_logits(fake, tensors, prefix, "fake")
    on_real: Any = sum(F.relu(1 - logits).mean() for logits, _ in real)
    sums: list[Any] = [
        on_real + sum(F.relu(1 + logits).mean() for logits, _ in fake),
        sum(F.relu(1 - logits).mean() for logits, _ in fake),
        feature_distance(real, fake),
    ]
    torch.testing.assert_close(
        torch.stack(sums),
        tensors[f"disc.{prefix}.hinge_disc_gen_fm_sums"],
        rtol=1e-4,
        atol=0,
    )


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (MultiPeriodDiscriminator, 41_105_770),
        (MultiScaleDiscriminator, 29_618_821),
        (MultiBandDiscriminator, 1_413_990),
    ],
)
def test_published_sizes(build: type[Discriminator], count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in build().parameters()) == count


@pytest.mark.parametrize("build", [MultiPeriodDiscriminator, MultiBandDiscriminator])
def test_a_condition_moves_the_logits_once_it_has_weight(build: type[Discriminator]) -> None:
    torch.manual_seed(0)
    discriminator = build(conditions=3)
    waveform, condition = torch.randn(2, 1, 2100), torch.tensor([2, 0])
    plain = discriminator(waveform)
    for (before, _), (after, _) in zip(plain, discriminator(waveform, condition=condition), strict=True):
        torch.testing.assert_close(before, after)
    with torch.no_grad():
        for part in discriminator.discriminators:  # type: ignore[union-attr]
            part.emb.weight[2] = 1.0
    for (before, _), (after, _) in zip(plain, discriminator(waveform, condition=condition), strict=True):
        assert (before[0] - after[0]).abs().max() > 1e-3
        torch.testing.assert_close(before[1], after[1])


def test_spectral_norm_option() -> None:
    with torch.device("meta"):
        names = MultiPeriodDiscriminator(channel_multiplier=0.1, spectral_norm=True).state_dict()
        more = MultiResolutionDiscriminator(channel_multiplier=0.1, spectral_norm=True).state_dict()
    for found in (names, more):
        assert any(name.endswith("parametrizations.weight.0._u") for name in found)


def test_a_hop_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be halved 8 times"):
        MultiScaleSubbandCQTDiscriminator(24000, hop_lengths=(500, 256, 256))


def test_bins_beyond_half_the_rate_are_refused() -> None:
    with pytest.raises(ValueError, match="top bin"):
        MultiScaleSubbandCQTDiscriminator(8000)
