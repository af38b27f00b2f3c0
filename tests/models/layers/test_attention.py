"""Kinds of attention agree where they compute the same thing, and stream to what they are as a whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from audiotool.models.layers.attention import (
    KINDS,
    SelfAttention,
    causal_attention,
    causal_linear_attention,
    causal_mask,
    full_attention,
    linear_attention,
    memory_efficient_attention,
    windowed_attention,
)


def random_heads(batch: int = 2, heads: int = 4, frames: int = 37, width: int = 8) -> list[Tensor]:
    torch.manual_seed(frames)
    return [torch.randn(batch, heads, frames, width) for _ in range(3)]


def test_memory_efficient_equals_full_with_and_without_a_mask() -> None:
    q, k, v = random_heads()
    mask = causal_mask(37, 37, 5, q.device)
    torch.testing.assert_close(memory_efficient_attention(q, k, v), full_attention(q, k, v))
    torch.testing.assert_close(memory_efficient_attention(q, k, v, mask), full_attention(q, k, v, mask))


@pytest.mark.parametrize("frames", [1, 37, 300])
def test_a_window_of_everything_is_full_attention(frames: int) -> None:
    q, k, v = random_heads(frames=frames)
    torch.testing.assert_close(windowed_attention(q, k, v, frames), full_attention(q, k, v))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [1, 9, 130])
def test_windowed_equals_full_under_a_band(window: int, causal: bool) -> None:
    q, k, v = random_heads(frames=300)
    distance = torch.arange(300)[:, None] - torch.arange(300)
    band = (distance < window) & (distance > (-1 if causal else -window))
    torch.testing.assert_close(windowed_attention(q, k, v, window, causal), full_attention(q, k, v, band))


def test_multi_query_equals_full_with_the_head_repeated() -> None:
    q, k, v = random_heads()
    k, v = k[:, :1], v[:, :1]
    expected = full_attention(q, k.repeat(1, 4, 1, 1), v.repeat(1, 4, 1, 1))
    torch.testing.assert_close(memory_efficient_attention(q, k, v), expected)
    torch.testing.assert_close(full_attention(q, k, v), expected)


def test_linear_equals_its_kernel_written_out() -> None:
    q, k, v = random_heads(frames=300)
    kernel = (torch.nn.functional.elu(q) + 1) @ (torch.nn.functional.elu(k) + 1).transpose(-1, -2)
    torch.testing.assert_close(linear_attention(q, k, v), kernel / kernel.sum(-1, keepdim=True) @ v)
    kernel = kernel.tril()
    expected = kernel / kernel.sum(-1, keepdim=True) @ v
    torch.testing.assert_close(causal_linear_attention(q, k, v)[0], expected, rtol=1e-4, atol=1e-5)


def test_self_attention_equals_torch_with_the_same_parameters() -> None:
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    torch.nn.init.normal_(theirs.in_proj_bias)
    ours = SelfAttention(16, 4)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 11, 16)
    torch.testing.assert_close(ours(x)[0], theirs(x, x, x)[0], rtol=1e-4, atol=1e-5)


def test_multi_query_projects_one_head_of_keys_and_values() -> None:
    assert SelfAttention(16, 4, "multi-query").in_proj_weight.shape == (16 + 2 * 4, 16)


@pytest.mark.parametrize("kind", KINDS)
def test_streamed_equals_whole(kind: Any) -> None:
    torch.manual_seed(0)
    layer = SelfAttention(16, 4, kind, window=7 if kind == "windowed" else None, causal=True).eval()
    x = torch.randn(2, 300, 16)
    whole, _ = layer(x)
    for sizes in ([1] * 300, [7] * 42 + [6], [150, 0, 150], [299, 1]):
        parts, state = [], None
        for part in x.split(sizes, dim=1):
            y, state = layer(part, state)
            parts.append(y)
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_causal_kinds_do_not_see_the_future(kind: Any) -> None:
    torch.manual_seed(0)
    layer = SelfAttention(16, 4, kind, window=7 if kind == "windowed" else None, causal=True).eval()
    x = torch.randn(1, 40, 16)
    changed = torch.cat((x[:, :20], torch.randn(1, 20, 16)), dim=1)
    before, after = layer(x)[0], layer(changed)[0]
    torch.testing.assert_close(before[:, :20], after[:, :20])
    assert not torch.allclose(before[:, 20:], after[:, 20:])


@pytest.mark.parametrize(("kind", "constant"), [("linear", True), ("windowed", True), ("full", False)])
def test_state_is_bounded_as_documented(kind: Any, constant: bool) -> None:
    layer = SelfAttention(16, 4, kind, window=7 if kind == "windowed" else None, causal=True)
    sizes, state = [], None
    for _ in range(4):
        _, state = layer(torch.randn(1, 50, 16), state)
        sizes.append(sum(s.numel() for s in state))
    assert (sizes[-1] == sizes[0]) is constant


def test_state_of_whole_past_continues() -> None:
    q, k, v = random_heads()
    whole, _ = causal_attention(q, k, v, None)
    first, state = causal_attention(q[:, :, :20], k[:, :, :20], v[:, :, :20], None)
    second, _ = causal_attention(q[:, :, 20:], k[:, :, 20:], v[:, :, 20:], None, state)
    torch.testing.assert_close(torch.cat((first, second), dim=2), whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 3}, "do not divide"),
        ({"kind": "sparse"}, "unknown kind"),
        ({"kind": "windowed"}, "window belongs"),
        ({"kind": "full", "window": 4}, "window belongs"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SelfAttention(**{"dim": 16, "heads": 4, **arguments})
