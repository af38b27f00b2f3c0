"""scripts/deepen_checkpoint.py: twice the layers have the same output, and the new ones are trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from kit.checkpoints import save_random

from audiotool import checkpoint


@pytest.mark.parametrize(
    ("config", "memory_every"),
    [
        ({"layers": 2}, 1),
        ({"layers": 2, "memory": 6, "learnt_start": True}, 2),
        ({"layers": 4, "memory": 6, "memory_every": 2}, 4),
    ],
)
def test_the_deeper_network_does_the_same(
    run: Callable[..., str],
    tmp_path: Path,
    config: dict[str, object],
    memory_every: int,
) -> None:
    path, output = save_random(tmp_path, "band-split-gru", **config), tmp_path / "deep.safetensors"
    run("deepen_checkpoint", output, path)
    shallow, deep = checkpoint.load(path)[0], checkpoint.load(output)[0]
    assert (deep.config.layers, deep.config.memory_every) == (2 * shallow.config.layers, memory_every)
    x = torch.randn(1, 1, 8000)
    with torch.inference_mode():
        expected, found = (model.step(x, final=True)[0] for model in (shallow, deep))
    torch.testing.assert_close(found, expected)
    deep.step(x, final=True)[0].square().sum().backward()
    assert deep.layers[1].narrow.weight.grad.abs().max() > 0  # type: ignore[index, union-attr]


def test_other_models_are_refused(run: Callable[..., str], tmp_path: Path) -> None:
    path, output = save_random(tmp_path, "gtcrn"), tmp_path / "deep.safetensors"
    with pytest.raises(SystemExit, match="is a gtcrn: only a band-split GRU can be made deeper"):
        run("deepen_checkpoint", output, path)
