"""scripts/bundle_checkpoint.py: weights are stored in half precision, those of large tensors in 9 bits."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    sys.modules.pop("bundle_checkpoint", None)
    return importlib.import_module("bundle_checkpoint")


def test_large_tensors_lose_their_last_bit_and_no_more(script: ModuleType) -> None:
    values = torch.cat((torch.randn(5000), torch.tensor([0.0, -0.0, 65504.0, -65504.0, 6e-8, 1.0])))
    packed = script.packed(values)
    assert packed.dtype is torch.float16
    assert not (packed.view(torch.int16) & 1).any()
    normal = values.abs() >= 2.0**-14
    assert ((packed.float() - values)[normal].abs() <= values[normal].abs() * 2.0**-10 * 1.5).all()
    assert (packed[values == 0] == 0).all()
    assert packed.isfinite().all()
    assert torch.equal(packed.sign()[normal].float(), values.sign()[normal])


def test_small_ones_and_integers_stay(script: ModuleType) -> None:
    values = torch.randn(40, 3)
    assert torch.equal(script.packed(values), values.half())
    assert torch.equal(script.packed(torch.arange(9000)), torch.arange(9000))
    odd = torch.full((5000,), torch.inf)
    assert torch.equal(script.packed(odd), odd.half())
