"""Released weights of other projects, real inputs and official outputs, if they lie beside the checkout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).parents[3] / "shared" / "released"


def needs_released(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that reads them."""
    absent = pytest.mark.skipif(not ROOT.is_dir(), reason=f"no released weights in {ROOT}")
    return pytest.mark.released(absent(test))


def load(path: str) -> dict[str, Any]:
    """Arrays of a file of ROOT."""
    with np.load(ROOT / path) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def error(found: Tensor, official: Tensor) -> float:
    """Root mean square of the difference, relative to the official output; over what both have."""
    length = min(found.shape[-1], official.shape[-1])
    difference = found[..., :length] - official[..., :length]
    return float((difference.square().mean() / official.square().mean()).sqrt())
