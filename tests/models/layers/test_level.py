"""The running level against its definition, however the stream is cut."""

from __future__ import annotations

import pytest
import torch

from audiotool.models.layers.level import RunningLevel
from audiotool.models.layers.running_mean import BLOCK

HOP = 4
DECAY = 0.98


@pytest.mark.parametrize("blocks", [1, 3, BLOCK + 50])
def test_levels_follow_the_definition(blocks: int) -> None:
    layer = RunningLevel(HOP, time_constant=-1 / torch.tensor(DECAY).log().item())
    x = torch.randn(2, 1, 600 * HOP, generator=torch.Generator().manual_seed(0))
    power = x.double().view(2, 600, HOP).square().mean(-1)
    estimate, weight, expected = torch.zeros(2, dtype=torch.float64), 0.0, []
    for block in power.unbind(1):
        estimate, weight = DECAY * estimate + (1 - DECAY) * block, DECAY * weight + (1 - DECAY)
        expected.append((estimate / weight).sqrt())
    state, found = None, []
    for chunk in x.split(blocks * HOP, dim=-1):
        level, state = layer(chunk, state)
        found.append(level[:, 0])
    torch.testing.assert_close(torch.cat(found, 1).double(), torch.stack(expected, 1), rtol=1e-5, atol=0)
