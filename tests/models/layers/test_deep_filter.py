"""Deep filtering is a filter over time, bin by bin."""

import torch

from audiotool.models.layers.deep_filter import DeepFilter


def test_taps_look_back() -> None:
    torch.manual_seed(0)
    spec = torch.randn(6, 1, 3, dtype=torch.complex64)
    for delay in range(3):
        taps = torch.zeros(6, 1, 3, 3, dtype=torch.complex64)
        taps[:, :, delay] = 1
        y, _ = DeepFilter(3)(spec, taps)
        expected = torch.cat((torch.zeros_like(spec[:delay]), spec[: 6 - delay]))
        torch.testing.assert_close(y, expected)


def test_chunks_equal_the_whole() -> None:
    torch.manual_seed(0)
    spec = torch.randn(9, 2, 3, dtype=torch.complex64)
    taps = torch.randn(9, 2, 2, 4, 3, dtype=torch.complex64)  # frames, batch, stems, taps, bins
    layer = DeepFilter(4)
    whole, _ = layer(spec, taps.flatten(0, 1))
    state, parts = None, []
    for start, stop in ((0, 1), (1, 1), (1, 3), (3, 9)):
        part, state = layer(spec[start:stop], taps[start:stop].flatten(0, 1), state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts), whole)
