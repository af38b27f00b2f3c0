"""Models that look ahead stream in constant memory, and interchangeable stems stay where they began."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from kit.models import build, is_causal, make_input
from kit.streams import overlapping_stream
from torch import Tensor

from audiotool.engines.base import are_interchangeable
from audiotool.models.base import Model
from audiotool.models.registry import MODELS
from audiotool.streaming.overlap_add import align_stems

LOOKING_AHEAD = [name for name in MODELS.all() if not is_causal(name)]
"""Every model that goes through overlap-add."""


@pytest.mark.parametrize("name", LOOKING_AHEAD)
def test_held_samples_do_not_grow(name: str) -> None:
    model = build(name)
    hop = model.hop_length
    conditions = {"level": None} if model.uses_level else {}
    stream = overlapping_stream(model, 24 * hop, 4 * hop, **conditions)
    streamer = stream.streamer
    held, got = [], 0
    for n in range(7):
        got += stream.feed(make_input(model, 24 * hop, n)).shape[-1]
        values = [*vars(streamer).values(), *streamer._pending]
        held.append(sum(_memory(v) for v in values if isinstance(v, np.ndarray)))
    assert held[3] == held[4] == held[5] == held[6] > 0
    got += stream.flush().shape[-1]
    assert got == model.output_length(7 * 24 * hop)


def _memory(array: np.ndarray) -> int:
    """Bytes that an array keeps alive: a view, those of what it is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.nbytes


@dataclass(frozen=True)
class SwapperConfig:
    stems: tuple[str, ...] = ("speaker1", "speaker2")


class Swapper(Model):
    """Separates high from low perfectly, and puts them out in the other order in every other call."""

    name = "swapper"
    config_class = SwapperConfig

    def __init__(self, config: SwapperConfig) -> None:
        super().__init__(config)
        self.sample_rate = 1000
        self.hop_length = 1
        self.causal = False
        self.stems = config.stems
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.calls = 0

    def process(self, x: Tensor, **conditions: Any) -> Tensor:
        self.calls += 1
        stems = torch.cat((x.clamp(min=0), x.clamp(max=0)), dim=1)
        return stems.flip(1) if self.calls % 2 == 0 else stems


def separated(stems: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """The Swapper's streamed output, and what it is without any exchange."""
    x = torch.randn(1, 1, 4321, generator=torch.Generator().manual_seed(0))
    y = overlapping_stream(Swapper(SwapperConfig(stems)), 500, 100).process(x, 333)
    return y, torch.cat((x.clamp(min=0), x.clamp(max=0)), dim=1)


def test_speakers_are_not_exchanged_between_segments() -> None:
    y, expected = separated(("speaker1", "speaker2"))
    torch.testing.assert_close(y, expected)


def test_stems_with_names_are_left_alone() -> None:
    y, expected = separated(("vocals", "drums"))
    assert (y - expected).abs().max() > 0.5


def test_stems_of_each_row_are_aligned_for_themselves_all_channels_together() -> None:
    before = torch.randn(2, 3 * 2, 50, generator=torch.Generator().manual_seed(0))
    orders = ([2, 0, 1], [1, 0, 2])
    stems = before.unflatten(1, (3, 2))
    shuffled = torch.stack([stems[row][order] for row, order in enumerate(orders)]).flatten(1, 2)
    aligned = align_stems(shuffled.numpy(), before.numpy(), 3)
    np.testing.assert_array_equal(aligned, before.numpy())
    silence = np.zeros_like(before.numpy())
    np.testing.assert_array_equal(align_stems(shuffled.numpy(), silence, 3), shuffled.numpy())


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (("speaker1", "speaker2"), True),
        (("speaker1", "noise"), False),
        (("speech",), False),
        (("speaker1",), False),
    ],
)
def test_which_stems_are_interchangeable(stems: tuple[str, ...], expected: bool) -> None:
    assert are_interchangeable(stems) is expected
