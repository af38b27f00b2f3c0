"""Networks on spectra divided by a running level: they follow the level, keep silence, and part the stems."""

from __future__ import annotations

import pytest
import torch
from kit.models import build

pytestmark = pytest.mark.parametrize("name", ["band-split-gru", "spectral-convnext"])


@torch.no_grad()
def test_output_follows_the_input_level(name: str) -> None:
    model = build(name)
    x = torch.randn(1, 1, 8000) * 0.1
    torch.testing.assert_close(model.process(x * 0.1), model.process(x) * 0.1, atol=1e-4, rtol=1e-2)


@torch.no_grad()
def test_silence_stays_silent(name: str) -> None:
    assert build(name).process(torch.zeros(1, 1, 4000)).abs().max() == 0


@torch.no_grad()
def test_every_stem_gets_its_own_output(name: str) -> None:
    y = build(name, stems=("speaker1", "speaker2")).process(torch.randn(3, 1, 2000))
    assert y.shape == (3, 2, 2000)
    assert not torch.equal(y[:, 0], y[:, 1])
