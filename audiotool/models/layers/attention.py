"""Kinds of attention over time.

    kind               a frame sees                 time      memory    its state when causal
    full               everything, scores stored    T^2       T^2       keys and values, growing
    memory-efficient   everything, fused kernel     T^2       T         keys and values, growing
    multi-query        as above, one key/value head T^2       T         one head of them
    windowed           frames nearer than `window`  T window  window    window - 1 keys and values
    linear             everything, factored         T         1         a D x D matrix a head

The window of causal attention, here 4:

    frames      0 1 2 3 4 5 | 6 7
    query 7           . . . |[4 5 6 7]      sees itself and window - 1 before it
    cache after frame 7: keys and values of 5 6 7

Without causality frame 7 sees 4 to 10.

References: Vaswani et al., Attention Is All You Need, NIPS 2017, arXiv:1706.03762. Shazeer, Fast Transformer
Decoding: One Write-Head is All You Need, 2019, arXiv:1911.02150. Katharopoulos et al., Transformers are RNNs,
ICML 2020, arXiv:2006.16236. Rabe and Staats, Self-attention Does Not Need O(n^2) Memory, 2021,
arXiv:2112.05682.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.models.base import State

Kind = Literal["full", "memory-efficient", "multi-query", "windowed", "linear"]
KINDS: tuple[Kind, ...] = get_args(Kind)

BLOCK = 128
"""Number of queries that are computed at once in windowed and linear attention; at least a window."""


def causal_mask(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """Return a boolean mask (queries, keys): True where a query attends; last query and last key are aligned.

    Args:
        window: number of frames that a query attends to, itself included; None is the whole past.
    """
    distance = torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)
    mask = distance >= 0
    return mask if window is None else mask & (distance < window)


def full_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention with an explicit matrix of scores: the definition with which the other kinds are
    compared.

    Args:
        query, key, value: (B, heads, T, D); key and value may have one head.
        mask: boolean (queries, keys), True where a query attends.
    """
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(dim=-1) @ value


def memory_efficient_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> Tensor:
    """`full_attention` by torch's fused kernels, which do not store the scores."""
    if key.shape[1] != query.shape[1]:
        key, value = (x.expand(-1, query.shape[1], -1, -1) for x in (key, value))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def windowed_attention(
    query: Tensor, key: Tensor, value: Tensor, window: int, causal: bool = False
) -> Tensor:
    """Attention over the frames nearer than `window`, one block of queries at a time.

    Args:
        query, key, value: (B, heads, T, D); the last query is aligned with the last key.
        causal: look at the frame itself and the past only.
    """
    keys, offset = key.shape[2], key.shape[2] - query.shape[2]
    size = max(window, BLOCK)
    parts = []
    for block in range(0, query.shape[2], size):
        rows = query[:, :, block : block + size]
        start, stop = offset + block, offset + block + rows.shape[2]
        first, last = max(0, start - window + 1), stop if causal else min(keys, stop + window - 1)
        index = torch.arange(first, max(last, stop), device=query.device)
        distance = index[start - first : stop - first, None] - index[: last - first]
        mask = (distance < window) & (distance > (-1 if causal else -window))
        parts.append(memory_efficient_attention(rows, key[:, :, first:last], value[:, :, first:last], mask))
    return torch.cat(parts, dim=2)


def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention with the kernel phi(q) phi(k), phi(x) = elu(x) + 1, in place of exp(q k)."""
    query, key = F.elu(query) + 1, F.elu(key) + 1
    return (query @ (key.transpose(-1, -2) @ value)) / (query @ key.sum(dim=2)[..., None])


def causal_linear_attention(
    query: Tensor, key: Tensor, value: Tensor, state: State = None
) -> tuple[Tensor, State]:
    """`linear_attention` of each frame over itself and the past.

    State: (sum of phi(k) v, sum of phi(k)), (B, heads, D, D) and (B, heads, D), whatever the stream's length.
    """
    query, key = F.elu(query) + 1, F.elu(key) + 1
    if state is None:
        memory = key.new_zeros(*key.shape[:2], key.shape[-1], value.shape[-1])
        norm = key.new_zeros(*key.shape[:2], key.shape[-1])
    else:
        memory, norm = state
    parts = [query.new_zeros(*query.shape[:2], 0, value.shape[-1])]
    for q, k, v in zip(*(x.split(BLOCK, dim=2) for x in (query, key, value)), strict=True):
        scores = (q @ k.transpose(-1, -2)).tril()
        parts.append((scores @ v + q @ memory) / (scores.sum(-1, keepdim=True) + q @ norm[..., None]))
        memory = memory + k.transpose(-1, -2) @ v
        norm = norm + k.sum(dim=2)
    return torch.cat(parts, dim=2), (memory, norm)


def causal_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: int | None,
    state: State = None,
    kind: Kind = "memory-efficient",
) -> tuple[Tensor, State]:
    """Softmax attention of each frame over itself and the past.

    Args:
        query, key, value: (B, heads, T, D); key and value may have one head (multi-query attention).
        window: number of frames that a query attends to, itself included; None is the whole past, whose state
            grows with time.
        state: (keys, values) of the frames before this chunk.
        kind: "full" computes an explicit matrix of scores; all others use the fused kernel.
    Returns:
        (B, heads, T, D) and the new (keys, values), at most window - 1 frames.
    """
    if state is not None:
        key = torch.cat((state[0], key), dim=2)
        value = torch.cat((state[1], value), dim=2)
    keep = key.shape[2] if window is None else min(window - 1, key.shape[2])
    start = key.shape[2] - keep
    cached = (key[:, :, start:].clone(), value[:, :, start:].clone())
    if query.shape[2] == 0:
        return query.new_zeros(*query.shape[:3], value.shape[-1]), cached
    if window is not None and kind != "full":
        return windowed_attention(query, key, value, window, causal=True), cached
    mask = causal_mask(query.shape[2], key.shape[2], window, query.device)
    attend = full_attention if kind == "full" else memory_efficient_attention
    return attend(query, key, value, mask), cached


def cached_attention(
    query: Tensor, key: Tensor, value: Tensor, cache: tuple[Tensor, Tensor], before: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """`causal_attention` with a window, over a cache that is always as long as the window allows.

    Args:
        cache: (keys, values) of the window - 1 frames before this chunk.
        before: (B, 1) integers, number of frames of the stream before this chunk; older frames in the cache
            are masked. If it is negative, the stream begins within the chunk, and the outputs before are
            meaningless.
    """
    held, frames = cache[0].shape[2], query.shape[2]
    key, value = torch.cat((cache[0], key), dim=2), torch.cat((cache[1], value), dim=2)
    number = torch.arange(held + frames, device=query.device) - held  # of keys, 0 at the chunk's beginning
    distance = number[held:, None] - number
    seen = (distance >= 0) & (distance <= held)
    # A frame always attends to itself, because a row without any score would be undefined.
    mask = seen & ((number >= -before[..., None]) | (distance == 0))
    attended = full_attention(query, key, value, mask[:, None])
    return attended, (key[:, :, frames:].clone(), value[:, :, frames:].clone())


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence over itself, (B, T, dim) -> (B, T, dim).

    Its parameters are laid out and named as those of `torch.nn.MultiheadAttention`; with kind "multi-query"
    the projection of keys and values is one head wide.

    Args:
        dim: features; a multiple of heads.
        kind: see the module docstring.
        window: number of frames on either side, the frame itself included; for kind "windowed" only.
        causal: attend to the frame itself and the past only, and carry state.
    Raises:
        ValueError: the kind is unknown, heads do not divide dim, or the window does not belong to the kind.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        kind: Kind = "memory-efficient",
        window: int | None = None,
        causal: bool = False,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"unknown kind of attention '{kind}': {', '.join(KINDS)}")
        if dim % heads:
            raise ValueError(f"{heads} heads do not divide {dim} features")
        if (kind == "windowed") != (window is not None):
            raise ValueError(
                f"a window belongs to kind 'windowed' and only there, got {kind!r} with {window}"
            )
        self.heads, self.kind, self.window, self.causal = heads, kind, window, causal
        shared = dim // heads if kind == "multi-query" else dim
        self.widths = (dim, shared, shared)
        self.in_proj_weight = nn.Parameter(torch.empty(sum(self.widths), dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(sum(self.widths)))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """(B, T, dim) -> (B, T, dim), and the state (None unless causal)."""
        width = x.shape[-1] // self.heads
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias).split(self.widths, dim=-1)
        q, k, v = (p.unflatten(-1, (-1, width)).transpose(1, 2) for p in projected)  # (B, heads, T, width)
        if self.causal:
            y, state = self._causal(q, k, v, state)
        else:
            y = self._whole(q, k, v)
        return self.out_proj(y.transpose(1, 2).flatten(2)), state

    def _causal(self, q: Tensor, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
        if self.kind == "linear":
            return causal_linear_attention(q, k, v, state)
        return causal_attention(q, k, v, self.window, state, self.kind)

    def _whole(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.kind == "linear":
            return linear_attention(q, k, v)
        if self.window is not None:
            return windowed_attention(q, k, v, self.window)
        return full_attention(q, k, v) if self.kind == "full" else memory_efficient_attention(q, k, v)
