"""Spans are checked against gradients: exactly the inputs that reach an output."""

import pytest
import torch
from torch import nn

from audiotool.models.layers.receptive_field import context_of, input_span, union


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv1d(2, 2, 5, dilation=3, padding=6)],
        [nn.Conv1d(2, 2, 4, stride=2, padding=1)],
        [nn.ConvTranspose1d(2, 2, 8, 4, padding=2)],
        [nn.ConvTranspose1d(2, 2, 5, 2, padding=1), nn.Conv1d(2, 2, 7, padding=3), nn.Tanh()],
        [nn.Conv1d(2, 2, 3, padding=1), nn.Sequential(nn.ConvTranspose1d(2, 2, 16, 8, padding=4), nn.Tanh())],
    ],
)
def test_span_is_the_reach_of_gradients(layers: list[nn.Module]) -> None:
    module = nn.Sequential(*layers).double()
    x = torch.randn(1, 2, 60, dtype=torch.double, requires_grad=True)
    y = module(x)
    for span in ((y.shape[-1] // 2, y.shape[-1] // 2), (y.shape[-1] // 2, y.shape[-1] // 2 + 7)):
        (grad,) = torch.autograd.grad(y[..., span[0] : span[1] + 1].square().sum(), x, retain_graph=True)
        touched = grad.abs().sum((0, 1)).nonzero().flatten()
        assert input_span(module, span) == (int(touched[0]), int(touched[-1]))


def test_union_and_context() -> None:
    assert union([(-3, 4), (-1, 9)]) == (-3, 9)
    assert context_of((-3, 9)) == (3, 9)
    assert context_of((1, -1)) == (0, 0)
