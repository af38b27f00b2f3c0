"""Weights that both sides of a parity test can compute: discriminators are too large to keep in files."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

OFFICIAL = (
    (r"parametrizations\.weight\.original0$", "weight_g"),
    (r"parametrizations\.weight\.original1$", "weight_v"),
    (r"parametrizations\.weight\.original$", "weight_orig"),
    (r"parametrizations\.weight\.0\._u$", "weight_u"),
    (r"parametrizations\.weight\.0\._v$", "weight_v"),
)
"""Names of parametrised tensors, and those the official files have."""


def official_name(name: str) -> str:
    for pattern, replacement in OFFICIAL:
        name = re.sub(pattern, replacement, name)
    return name


def drawn(name: str, order: int, shape: torch.Size) -> Tensor:
    """The tensor called `name`, number `order` of all names sorted: hashed integers, scaled by kind."""
    index = np.arange(int(np.prod(shape)), dtype=np.uint64)
    mask = np.uint64(0xFFFFFFFF)
    h = ((index + np.uint64(1 + 1000003 * order)) * np.uint64(2654435761)) & mask
    h ^= h >> np.uint64(15)
    h = (h * np.uint64(2246822519)) & mask
    h ^= h >> np.uint64(13)
    u = torch.from_numpy((h.astype(np.float64) / 2147483648 - 1).astype(np.float32)).reshape(shape)
    if name.endswith("weight_g"):
        return 1 + 0.5 * u
    if name.endswith("bias"):
        return 0.1 * u
    if name.endswith(("weight_v", "weight_orig")):
        return u
    return 1 + 0.2 * u if u.dim() == 1 else u * (3 / u[0].numel()) ** 0.5


@pytest.fixture
def draw_weights() -> Callable[..., None]:
    """Fill a discriminator; `buffers` are official state-dict entries that have another place in ours."""

    def fill(module: Any, windows: str = "", given: dict[str, Tensor] | None = None) -> None:
        parameters = {official_name(k): v for k, v in module.state_dict(keep_vars=True).items()}
        if windows:
            for n, part in enumerate(module.discriminators):
                parameters[f"discriminators.{n}.{windows}"] = part.window
        with torch.no_grad():
            for order, name in enumerate(sorted(parameters)):
                tensor = parameters[name]
                supplied = (given or {}).get(name)
                tensor.copy_(drawn(name, order, tensor.shape) if supplied is None else supplied)

    return fill
