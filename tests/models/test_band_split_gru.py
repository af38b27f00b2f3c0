"""The band-split GRU answers alike at every level, keeps silence silent, and filters where it is told to."""

import pytest
import torch

from audiotool.errors import CheckpointError
from audiotool.models.band_split_gru import BandSplitGRU, BandSplitGRUConfig


def build(**config):
    torch.manual_seed(0)
    return BandSplitGRU(BandSplitGRUConfig(dim=8, layers=2, **config)).eval()


@torch.no_grad()
def test_output_follows_the_input_level():
    model = build()
    x = torch.randn(1, 1, 8000) * 0.1
    torch.testing.assert_close(model.process(x * 0.1), model.process(x) * 0.1, atol=1e-4, rtol=1e-2)


@torch.no_grad()
def test_silence_stays_silent():
    assert build().process(torch.zeros(1, 1, 4000)).abs().max() == 0


@torch.no_grad()
def test_every_stem_gets_its_own_output():
    y = build(stems=("speaker1", "speaker2")).process(torch.randn(3, 1, 2000))
    assert y.shape == (3, 2, 2000)
    assert not torch.equal(y[:, 0], y[:, 1])


@torch.no_grad()
@pytest.mark.parametrize(("hz", "sounds"), [(1000.0, True), (6000.0, False)])
def test_earlier_frames_serve_below_the_deep_filters_edge_alone(hz, sounds):
    """With masks of zero, only the taps that look back can make a sound."""
    model = build(filter_taps=3, filter_below_hz=4000.0)
    for masks, taps in zip(model.masks, model.taps, strict=True):
        masks.weight.zero_()
        bias = masks.bias.zero_().unflatten(-1, (2, 1, taps, -1))
        bias[:, :, 0, :, 0] = -0.5  # the current frame's mask begins at a half
        bias[:, :, 0, :, 1:] = 1.0
    tone = torch.sin(2 * torch.pi * hz * torch.arange(8000) / 16000)[None, None]
    assert (model.process(tone)[..., 2000:6000].abs().max() > 0.1) == sounds


def test_bands_that_do_not_fill_the_spectrum_are_refused():
    with pytest.raises(CheckpointError, match="256 bins together, found 250"):
        BandSplitGRU.from_config({"bands": [[25, 10]]})
