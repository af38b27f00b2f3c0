"""Attention over past frames with a bounded window and a key/value cache.

    frames      0 1 2 3 4 5 | 6 7          window = 4
    query 7           . . . |[4 5 6 7]      sees itself and window - 1 before it
    cache after frame 7: keys and values of 5 6 7
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from audiotool.models.base import State


def causal_mask(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """Boolean (queries, keys), True where a query may look; the last query is aligned with the last key.

    Args:
        window: how many frames a query sees, itself included; None means all the past.
    """
    distance = torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)
    mask = distance >= 0
    return mask if window is None else mask & (distance < window)


def causal_attention(
    query: Tensor, key: Tensor, value: Tensor, window: int | None, state: State = None
) -> tuple[Tensor, State]:
    """Scaled dot-product attention of each frame over itself and the past.

    Args:
        query, key, value: (B, heads, T, D); key and value may have one head (multi-query attention).
        window: frames a query sees, itself included; None keeps the whole past (its cache grows with time).
        state: (keys, values) of the frames before this chunk.
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
    mask = causal_mask(query.shape[2], key.shape[2], window, query.device)
    grouped = key.shape[1] != query.shape[1]
    y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=grouped)
    return y, cached
