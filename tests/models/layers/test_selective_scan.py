"""The scan equals the recurrence written as a loop: values, gradients, states, and any tiling."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kit.parity import relative_error
from safetensors.torch import load_file
from torch import Tensor

from audiotool.models.layers import selective_scan as module
from audiotool.models.layers.selective_scan import selective_scan

PACK = Path(__file__).parents[2] / "data" / "parity" / "mambattention" / "io.safetensors"


def loop(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    outputs = []
    for t in range(u.shape[-1]):
        decay = torch.exp(delta[:, :, t, None] * A)
        state = decay * state + (delta[:, :, t] * u[:, :, t])[..., None] * B[:, None, :, t]
        outputs.append((state * C[:, None, :, t]).sum(-1))
    return torch.stack(outputs, dim=-1), state


def arguments(length: int, batch: int = 3, features: int = 6, size: int = 4) -> list[Tensor]:
    torch.manual_seed(length)
    delta = torch.nn.functional.softplus(torch.randn(batch, features, length) - 1)
    A = -torch.exp(torch.randn(features, size))
    u, B, C = (torch.randn(batch, n, length) for n in (features, size, size))
    return [u, delta, A, B, C, torch.randn(batch, features, size)]


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    return selective_scan(u, delta, A, B, C, state=state)


def test_official_reference() -> None:
    pack = {k[5:]: v for k, v in load_file(PACK).items() if k.startswith("scan.")}
    names = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
    y, state = selective_scan(*(pack[n] for n in names), delta_softplus=True)  # type: ignore[arg-type, misc]
    assert relative_error(y, pack["out"]) <= 1e-5
    assert relative_error(state, pack["last_state"]) <= 1e-5


@pytest.mark.parametrize("full", [1, 1 << 30], ids=["step by step", "in chunks"])
@pytest.mark.parametrize("length", [1, 2, 3, 16, 17, 131, 300])
def test_values_and_gradients_equal_the_loops(
    length: int, full: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.FULL, "cpu", full)
    values = [v.requires_grad_() for v in arguments(length)]
    weight = torch.randn(3, 6, length)
    results = []
    for run in (loop, scan):
        y, state = run(*values)
        results.append((y, state, torch.autograd.grad((y * weight).sum() + state.sin().sum(), values)))
    for ours, reference in zip(results[1][:2], results[0][:2], strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-5)
    for ours, reference in zip(results[1][2], results[0][2], strict=True):
        assert (ours - reference).abs().max() <= 1e-4 * reference.abs().max()


def test_tiles_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [v.requires_grad_() for v in arguments(50)]
    expected, state = scan(*values)
    gradients = torch.autograd.grad(expected.sum(), values)
    monkeypatch.setitem(module.TILE, "cpu", 7 * 24)
    monkeypatch.setattr(module, "ROWS", 24)
    tiled, tiled_state = scan(*values)
    torch.testing.assert_close(tiled, expected)
    torch.testing.assert_close(tiled_state, state)
    torch.testing.assert_close(torch.autograd.grad(tiled.sum(), values), gradients)


def test_a_state_continues_a_sequence() -> None:
    u, delta, A, B, C, begin = arguments(40)
    whole, end = scan(u, delta, A, B, C, begin)
    first, middle = scan(u[..., :13], delta[..., :13], A, B[..., :13], C[..., :13], begin)
    second, last = scan(u[..., 13:], delta[..., 13:], A, B[..., 13:], C[..., 13:], middle)
    torch.testing.assert_close(torch.cat((first, second), dim=-1), whole)
    torch.testing.assert_close(last, end)


def test_an_empty_sequence_keeps_the_state() -> None:
    *sequence, begin = arguments(4)
    u, delta, A, B, C = sequence
    y, state = scan(u[..., :0], delta[..., :0], A, B[..., :0], C[..., :0], begin)
    assert y.shape == (3, 6, 0)
    assert torch.equal(state, begin)


def test_fast_decay_over_long_sequences_stays_finite() -> None:
    u, delta, A, B, C, begin = arguments(5000, batch=1, features=2)
    delta = delta * 100
    u.requires_grad_()
    y, _ = scan(u, delta, A, B, C, begin)
    expected, _ = loop(u, delta, A, B, C, begin)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    assert torch.autograd.grad(y.sum(), u)[0].isfinite().all()


def test_half_precision_input_is_computed_in_single() -> None:
    values = arguments(64)
    y, state = scan(*(v.bfloat16() for v in values))
    expected, _ = scan(*(v.bfloat16().float() for v in values))
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(y, expected.bfloat16())
