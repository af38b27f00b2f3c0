"""The limit between kept and removed recordings is the same for both kinds of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from audiotool.dsp.attenuation import is_kept


@pytest.mark.parametrize("array", [np.asarray, torch.from_numpy])
def test_noise_is_a_recording_kept_by_less_than_minus_13_db(array: Any) -> None:
    recordings = np.random.default_rng(0).standard_normal((3, 2, 1600)).astype(np.float32)
    recordings[2] = 0
    kept = recordings * 10 ** (np.array([-12.0, -14.0, 0.0], np.float32)[:, None, None] / 20)
    assert is_kept(array(recordings), array(kept)).tolist() == [True, False, False]


def test_samples_far_beyond_full_scale_warn_of_nothing() -> None:
    huge = np.full((1, 1, 100), 1e20, np.float32)
    assert is_kept(huge, huge).tolist() == [False]
