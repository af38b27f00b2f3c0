"""Users' arrays: what is no array of samples is refused in one sentence."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from audiotool.arrays import LOUDEST, UserArray, first_unusable
from audiotool.errors import InputError


class Unconvertible:
    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("not on\nthis device")


def quantized() -> torch.Tensor:
    return torch.quantize_per_tensor(torch.zeros(10), 0.1, 0, torch.qint8)


def nested() -> torch.Tensor:
    return torch.nested.nested_tensor([torch.zeros(3), torch.zeros(4)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [[0.1, 0.2], [0.1]], "numpy makes no array of this list: .*inhomogeneous"),
        (lambda: [torch.zeros(3, requires_grad=True)], "numpy makes no array of this list: .*requires grad"),
        (Unconvertible, "numpy makes no array of this Unconvertible: not on this device"),
        (quantized, r"a quantized tensor: give array\.dequantize\(\)"),
        (nested, r"a nested tensor: give those of array\.unbind\(\)"),
    ],
)
def test_what_is_no_array(make: Callable[[], Any], message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of kinds of tensors that are to go
        given = make()
    with pytest.raises(InputError, match=message) as caught:
        UserArray(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.01 * LOUDEST, -1.01 * LOUDEST])
def test_the_first_sample_that_no_model_takes(value: float) -> None:
    block = np.zeros((2, 9), np.float32)
    block[1, 3] = block[0, 5] = value
    found = first_unusable(block)
    assert found is not None
    assert found[:2] == (1, 3)
    np.testing.assert_allclose(found.value, value, rtol=1e-6)
    assert first_unusable(block[:, 4:4]) is None
    assert first_unusable(np.full((1, 2), [-LOUDEST, LOUDEST], np.float32)) is None
