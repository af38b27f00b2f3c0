"""A loop gives each frame the state that the frame before left."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audiotool.dsp.loop import loop


def add(state: list[Tensor], frame: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    total = state[0] + frame[0] * frame[1]
    return total, [total]


@pytest.mark.parametrize("sizes", [[6], [1, 5], [2, 2, 2]])
def test_frames_are_summed(sizes: list[int]) -> None:
    x = torch.arange(12.0).reshape(2, 6, 1)
    state, found = [torch.ones(2, 1, 1)], []
    for part in x.split(sizes, dim=1):
        output, state = loop(add, state, (part, 2 * torch.ones_like(part)))
        found.append(output)
    expected = 1 + 2 * x.cumsum(1)
    assert torch.equal(torch.cat(found, dim=1), expected)
    assert torch.equal(state[0], expected[:, -1:])
