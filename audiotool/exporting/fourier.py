"""Fourier transforms as products with real matrices, because ONNX graphs have no complex numbers.

One matrix of cosines and one of sines would cost n² / 2 products each. A transform of n = A B samples is
two steps of smaller ones instead (Cooley and Tukey, 1965). With n1 < A, n2 < B of the sample n1 B + n2, and
c < A, d < B / 2 of the frequency c + A d:

    Y[c, n2] = sum_n1 x[n1, n2] exp(-2 pi i c n1 / A)             one matrix for all
    X[c, d]  = sum_n2 Y[c, n2] exp(-2 pi i n2 (c + A d) / n)      a matrix for each c

That is 2 n (A + B) products. The highest frequency, n / 2, has a real value only, and lies where the
imaginary part of frequency 0 would be. Every entry of a matrix is a cosine of a whole multiple of
2 pi / n, or nearly: graphs that share their weights compute the matrices as they are loaded
(`shared_weights.py`).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiotool.dsp.framing import hann


@dataclass(frozen=True)
class Table:
    """Matrices of weights * cos(2 pi (left * right + phase) / size), with other values at `places`.

    Args:
        size: number of samples of one turn of the cosine.
        left, right, phase: integers, of shapes that broadcast to axes of which `shape` merges some.
        shape: shape of the matrices.
        weights: of a shape that broadcasts with theirs.
        places, put: indices (N, axes) before the axes are merged, and the values (N,) at them.
    """

    size: int
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    phase: NDArray[np.int64]
    shape: tuple[int, ...]
    weights: NDArray[np.float32] = field(default_factory=lambda: np.ones((), np.float32))
    places: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 1), np.int64))
    put: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def values(self) -> NDArray[np.float32]:
        """Return the matrices, `shape` float32."""
        matrices = cosines(self.size)[(self.left * self.right + self.phase) % self.size] * self.weights
        if len(self.places):
            matrices[tuple(self.places.T)] = self.put
        return matrices.astype(np.float32).reshape(self.shape)


def cosines(size: int) -> NDArray[np.float32]:
    """Return one turn of the cosine, (size,) float32."""
    return np.cos(np.arange(size) * (2 * np.pi / size)).astype(np.float32)


def factors(size: int) -> tuple[int, int]:
    """Return the factors A and B of an even size that are nearest to each other, A not larger, B even."""
    first = max(n for n in range(1, math.isqrt(size) + 1) if size % n == 0 and size // n % 2 == 0)
    return first, size // first


@functools.cache
def tables(size: int) -> dict[str, Table]:
    """Return the matrices of a transform of `size` samples ("first", "second") and of its inverse ("inverse",
    "last")."""
    a, b = factors(size)
    turn = size if size % 4 == 0 else 2 * size
    scale, quarter = turn // size, turn // 4
    c, d, n2 = np.arange(a), np.arange(b // 2), np.arange(b)
    frequency = (c[:, None] + a * d)[:, None, None, None] * scale
    parts = np.array([[0, quarter], [3 * quarter, 0]])  # cos, -sin; sin, cos
    alternating = (-1.0) ** n2
    # c = 0: from or to the real part, in the place of the imaginary part of frequency 0
    forward_places = np.stack([0 * n2, 0 * n2, n2, 0 * n2 + 1, 0 * n2], axis=1)
    inverse_places = np.stack([0 * n2, 0 * n2 + 1, 0 * n2, 0 * n2, n2], axis=1)
    twice = np.where(frequency == 0, 1, 2) / size
    return {
        "first": Table(
            size=turn,
            left=(c * b * scale)[:, None, None],
            right=np.arange(a),
            phase=np.array([0, quarter])[:, None],
            shape=(2 * a, a),
        ),
        "second": Table(
            size=turn,
            left=n2[:, None, None],
            right=frequency,
            phase=parts[:, None, :, None],
            places=forward_places,
            put=alternating.astype(np.float32),
            shape=(a, 2 * b, b),
        ),
        "inverse": Table(
            size=turn,
            left=n2,
            right=frequency.transpose(0, 1, 4, 2, 3),
            phase=parts.T[:, None, :, None],
            weights=twice.transpose(0, 1, 4, 2, 3).astype(np.float32),
            places=inverse_places,
            put=(alternating / size).astype(np.float32),
            shape=(a, b, 2 * b),
        ),
        "last": Table(
            size=turn,
            left=(np.arange(a) * b * scale)[:, None, None],
            right=c[:, None],
            phase=np.array([0, quarter]),
            shape=(a, 2 * a),
        ),
    }


@functools.cache
def windowed_tables(size: int) -> dict[str, Table]:
    """Return the matrices from `size` samples under a Hann window to the real and imaginary parts of their
    spec, and back, each as one product (`dsp/spectrogram_inversion.py`)."""
    window = hann(size, size)
    samples, bins = np.arange(size), np.tile(np.arange(size // 2 + 1), 2)
    phase = np.repeat([0, size // 4], size // 2 + 1)
    ends = [np.stack([0 * samples + row, samples], axis=1) for row in (0, size // 2)]
    return {
        "analysis": Table(
            size=size,
            left=samples[:, None],
            right=bins,
            phase=phase,
            weights=window[:, None],
            shape=(size, size + 2),
        ),
        "synthesis": Table(
            size=size,
            left=bins[:, None],
            right=samples,
            phase=phase[:, None],
            weights=window * np.float32(2 / size),
            places=np.concatenate(ends),
            put=np.concatenate((window, window * (-1) ** samples)).astype(np.float32) * np.float32(1 / size),
            shape=(size + 2, size),
        ),
    }


@functools.cache
def _values(size: int, name: str) -> NDArray[np.float32]:
    # The cache holds arrays, because a tensor that is made during tracing belongs to the traced program.
    return tables(size)[name].values()


def _table(size: int, name: str) -> Tensor:
    return torch.from_numpy(_values(size, name))


def transform(x: Tensor) -> tuple[Tensor, Tensor]:
    """Transform real (..., n) to real and imaginary parts (..., n / 2 + 1), n even."""
    size = x.shape[-1]
    a, b = factors(size)
    y = _table(size, "first") @ x.reshape(-1, a, b)
    y = y.reshape(-1, a, 2 * b).transpose(0, 1) @ _table(size, "second")
    y = y.permute(1, 2, 0).reshape(*x.shape[:-1], 2, size // 2)
    real, imaginary = y.select(-2, 0), y.select(-2, 1)
    inner = torch.nn.functional.pad(imaginary[..., 1:], (1, 1))
    return torch.cat((real, imaginary[..., :1]), dim=-1), inner


def inverse_transform(real: Tensor, imaginary: Tensor) -> Tensor:
    """Transform real and imaginary parts (..., n / 2 + 1) to real (..., n)."""
    half = real.shape[-1] - 1
    size = 2 * half
    a, b = factors(size)
    packed = torch.cat((real, imaginary[..., 1:half]), dim=-1)
    y = packed.reshape(-1, b, a).permute(2, 0, 1) @ _table(size, "inverse")
    y = _table(size, "last") @ y.transpose(0, 1).reshape(-1, 2 * a, b)
    return y.reshape(*real.shape[:-1], size)
