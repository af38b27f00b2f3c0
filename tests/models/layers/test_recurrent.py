"""The GRU that trains faster is nn.GRU: values, gradients, parameters; and it can stop and go on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from audiotool.models.layers.recurrent import GRU, StreamingGRU


def pair(inputs: int, hidden: int, batch_first: bool = False) -> tuple[GRU, nn.GRU]:
    torch.manual_seed(0)
    ours, torchs = GRU(inputs, hidden, batch_first), nn.GRU(inputs, hidden, batch_first=batch_first)
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


def results(layer: nn.GRU, x: Tensor, begin: Tensor | None) -> list[Tensor]:
    """Output, last state, and the gradients of both with respect to inputs and parameters."""
    y, last = layer(x, begin)
    inputs = [x, *layer.parameters()] if begin is None else [x, begin, *layer.parameters()]
    loss = (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum() + last.cos().sum()
    return [y, last, *torch.autograd.grad(loss, inputs)]


@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (1, 5), (2, 1), (47, 3)])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("with_state", [False, True])
def test_values_and_gradients_are_those_of_torch(
    steps: int, batch: int, batch_first: bool, with_state: bool
) -> None:
    ours, torchs = pair(5, 7, batch_first)
    x = torch.randn(batch, steps, 5) if batch_first else torch.randn(steps, batch, 5)
    x.mul_(3).requires_grad_()
    begin = torch.randn(1, batch, 7, requires_grad=True) if with_state else None
    for a, b in zip(results(ours, x, begin), results(torchs, x, begin), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.detach().abs().max()))


def test_an_output_of_no_interest_has_no_gradient() -> None:
    ours, torchs = pair(4, 4)
    x = torch.randn(9, 2, 4)
    for index in (0, 1):
        gradients = [
            torch.autograd.grad(layer(x)[index].sum(), tuple(layer.parameters())) for layer in (ours, torchs)
        ]
        torch.testing.assert_close(*gradients)


def test_training_and_inference_compute_the_same_bits() -> None:
    ours, torchs = pair(5, 7)
    x = torch.randn(11, 3, 5)
    trained = ours(x)
    with torch.no_grad():
        used, reference = ours(x), torchs(x)
    for a, b, c in zip(trained, used, reference, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(b, c)


def test_gradients_flow_through_blocks_of_a_stream() -> None:
    torch.manual_seed(0)
    layer = StreamingGRU(4, 6)
    x = torch.randn(2, 4, 20)
    whole, end = layer(x)
    blocks, state = [], None
    for block in x.split((3, 0, 1, 16), dim=-1):
        y, state = layer(block, state)
        blocks.append(y)
    streamed = torch.cat(blocks, dim=-1)
    torch.testing.assert_close(streamed, whole)
    torch.testing.assert_close(state, end)
    losses = [y.square().sum() + h.sum() for y, h in ((whole, end), (streamed, state))]  # type: ignore[union-attr]
    torch.testing.assert_close(*(torch.autograd.grad(loss, tuple(layer.parameters())) for loss in losses))


def test_both_passes_in_double_precision_against_finite_differences() -> None:
    torch.manual_seed(0)
    layer = GRU(3, 4).double()
    x, begin = torch.randn(5, 2, 3).double().requires_grad_(), torch.randn(1, 2, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, begin: layer(x, begin), (x, begin))
