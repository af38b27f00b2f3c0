"""A recording that tests of scores share."""

from __future__ import annotations

import numpy as np
import pytest
from kit.audio import speech_like
from kit.scores import RATE


@pytest.fixture(scope="package")
def clean() -> np.ndarray:
    """1.5 s of synthetic speech at 16 kHz, (1, time)."""
    return speech_like(1.5, RATE)
