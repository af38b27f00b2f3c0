"""scripts/widen_checkpoint.py: twice the features have the same output, and diverge in training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from kit.checkpoints import save_random

from audiotool import checkpoint


@pytest.mark.parametrize("config", [{}, {"memory": 6, "learnt_start": True}])
def test_the_wider_network_does_the_same(
    run: Callable[..., str], tmp_path: Path, config: dict[str, int]
) -> None:
    path, output = save_random(tmp_path, "band-split-gru", **config), tmp_path / "wide.safetensors"
    run("widen_checkpoint", output, path)
    narrow, wide = checkpoint.load(path)[0], checkpoint.load(output)[0]
    assert wide.config.dim == 2 * narrow.config.dim
    x = torch.randn(1, 1, 8000)
    with torch.inference_mode():
        expected, found = (model.step(x, final=True)[0] for model in (narrow, wide))
    torch.testing.assert_close(found, expected)
    wide.step(x, final=True)[0].square().sum().backward()
    gradient = wide.layers[0].narrow.weight.grad  # type: ignore[index, union-attr]
    first, second = gradient.chunk(2)
    assert not torch.allclose(first, second), "copies that are trained alike stay alike"


def test_other_models_are_refused(run: Callable[..., str], tmp_path: Path) -> None:
    path, output = save_random(tmp_path, "gtcrn"), tmp_path / "wide.safetensors"
    with pytest.raises(SystemExit, match="is a gtcrn: only a band-split GRU can be made wider"):
        run("widen_checkpoint", output, path)
    assert not output.exists()
