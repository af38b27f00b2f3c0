"""Signals for the tests of several losses."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiotool.audio.reader import read

DEMO = Path(__file__).parents[1] / "data" / "audio" / "demo"


@pytest.fixture(scope="session")
def speech() -> tuple[Tensor, Tensor]:
    """Clean speech and the noise that was recorded with it, (T,) each, 16 kHz."""
    clean, noisy = (torch.as_tensor(read(DEMO / f"{name}.flac")[0][0]) for name in ("clean", "noisy"))
    return clean, noisy - clean
