"""Users' arrays: numpy arrays and torch tensors as float32 samples, and back; sample rates and counts.

Samples are of any floating type with a full scale of 1, or int16 with a full scale of 32768.
"""

from __future__ import annotations

import math
import numbers
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from audiotool.errors import InputError
from audiotool.text import one_line
from audiotool.value_types import quote

if TYPE_CHECKING:
    import torch

MOST_CHANNELS = 255
"""Greatest number of channels. An array with more has its axes exchanged, as soundfile reads files."""

HIGHEST_RATE = 2**31 - 1
"""Greatest sample rate in Hz that libsndfile and FFmpeg have a number for."""

INT16_SCALE = np.float32(32768)

LOUDEST = 1e12
"""Greatest absolute sample, 240 dB beyond full scale. Up to it no model overflows, whose state would then be
NaN."""

Block = NDArray[np.float32]
"""Samples (channels, time) float32, as they are read, fed and written."""

Array: TypeAlias = "NDArray[Any] | torch.Tensor"
"""A numpy array or a torch tensor."""

ScalarT = TypeVar("ScalarT", bound=np.generic)
"""Type variable of the samples of a caller's array, which are also returned. The axes may be others."""


class Unusable(NamedTuple):
    """A sample that is NaN or beyond `LOUDEST`: its channel, its place and its value."""

    channel: int
    at: int
    value: float


def first_unusable(block: Block) -> Unusable | None:
    """Return the earliest sample of (channels, time) that is NaN or beyond `LOUDEST`; None if there is
    none."""
    # Both comparisons fail for NaN.
    if block.min(initial=0) >= -LOUDEST and block.max(initial=0) <= LOUDEST:
        return None
    usable = np.abs(block) <= LOUDEST
    at = int(np.argmin(usable.all(axis=0)))
    channel = int(np.argmin(usable[:, at]))
    return Unusable(channel, at, float(block[channel, at]))


class UserArray:
    """Convert a user's array to (channels, time) float32, and results back.

    Raises:
        InputError: other axes or types, NaN, or samples beyond `LOUDEST`.
    """

    def __init__(self, waveform: Array) -> None:
        values = values_of(waveform)
        if values.ndim not in (1, 2) or (values.ndim == 2 and not values.shape[0]):
            raise InputError(f"a waveform is (time,) or (channels, time), got the shape {values.shape}")
        if values.ndim == 2 and values.shape[0] > MOST_CHANNELS:
            raise InputError(
                f"a waveform is (channels, time), and {values.shape} would be {values.shape[0]} channels:"
                " transpose it"
            )
        self.block: NDArray[np.float32] = np.atleast_2d(in_full_scale(values, np.float32))
        self.waveform: Any = waveform
        self.flat = values.ndim == 1
        self.dtype = values.dtype
        found = first_unusable(self.block)
        if found is not None:
            place = f"at sample {found.at} of channel {found.channel + 1}"
            beyond = ", far beyond full scale, which is 1" if math.isfinite(found.value) else ""
            raise InputError(f"the waveform holds {found.value:g} {place}{beyond}")

    def in_double(self) -> NDArray[np.float64]:
        """Return the samples (channels, time) with the digits of float64."""
        return np.atleast_2d(in_full_scale(values_of(self.waveform), np.float64))

    def restore(self, stems: NDArray[np.float32]) -> Array:
        """Convert (stems, channels, time) to the user's kind; int16 is limited to full scale.

        Raises:
            InputError: samples are not finite.
        """
        if not np.isfinite(stems).all():
            raise InputError(
                "the model answered with NaN or infinity: is the input far beyond full scale? A live stream"
                " has to be begun anew"
            )
        values: Any = stems[:, 0] if self.flat else stems
        values = values[0] if len(stems) == 1 else values
        if _is_int16(self.dtype):
            values = np.rint(values * INT16_SCALE).clip(-INT16_SCALE, INT16_SCALE - 1).astype(np.int16)
        return as_kind_of(self.waveform, values)


def in_full_scale(values: NDArray[Any], dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """Return a user's samples with a full scale of 1, as a new array of a floating type.

    Raises:
        InputError: they are neither floating point nor int16, or too great for that type.
    """
    if not np.issubdtype(values.dtype, np.floating) and not _is_int16(values.dtype):
        raise InputError(
            f"a waveform is floating point or int16, got {values.dtype}: divide other integers by their full"
            " scale"
        )
    with np.errstate(over="ignore"):
        samples = values.astype(dtype)
    if values.dtype.itemsize > samples.dtype.itemsize:
        beyond = np.isinf(samples) & np.isfinite(values)
        if beyond.any():
            value = values[beyond][0]
            raise InputError(f"the waveform holds {value:g}, beyond {samples.dtype}: full scale is 1")
    if _is_int16(values.dtype):
        samples /= INT16_SCALE
    return samples


def _is_int16(dtype: np.dtype[Any]) -> bool:
    """Return whether samples are int16, of either byte order."""
    return np.issubdtype(dtype, np.int16)


def as_kind_of(array: Array, values: NDArray[Any]) -> Array:
    """Return values as a user's kind of array: its type, dtype and device."""
    kind: Any = array
    if _is_tensor(array):
        import torch

        # numpy lacks some of torch's dtypes, such as bfloat16.
        moved: Any = torch.from_numpy(np.array(values, order="C")).to(kind.device, kind.dtype)
        return moved
    converted: Any = values.astype(np.asarray(array).dtype)
    return converted


def _is_tensor(array: Any) -> bool:
    # A caller who passes a tensor has imported torch; it is not imported for arrays.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def values_of(array: Any) -> NDArray[Any]:
    """Return a user's array as a numpy array; a tensor's floating values, of any device, as float32, or as
    float64 if they are so.

    Raises:
        InputError: it is no array, or a tensor without values (torch's device "meta"), or one that is sparse,
            quantized or nested.
    """
    if not _is_tensor(array):
        try:
            return np.asarray(array)
        except Exception as error:  # an array of another library may raise anything
            reason = one_line(str(error))
            raise InputError(f"numpy makes no array of this {type(array).__name__}: {reason}") from error
    if array.is_meta:
        raise InputError("the array is a tensor without values: its device is meta")
    if array.is_nested:
        raise InputError("the array is a nested tensor: give those of array.unbind(), one by one")
    if array.is_quantized:
        raise InputError("the array is a quantized tensor: give array.dequantize()")
    if str(array.layout) != "torch.strided":
        raise InputError(f"the array is a tensor of the layout {array.layout}: give array.to_dense()")
    plain = array.detach().resolve_conj().resolve_neg()
    # numpy lacks some of torch's floating types.
    is_short = plain.is_floating_point() and plain.element_size() < 8
    values: NDArray[Any] = (plain.float() if is_short else plain).cpu().numpy()
    return values


def whole_number(value: Any, what: str) -> int:
    """Return a positive whole number of any numeric type as int.

    Raises:
        InputError: the value is no such number.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf or value != int(value):
        raise InputError(f"{what}, a whole number above 0, got {quote(value)}")
    return int(value)


def in_whole_hertz(sample_rate: Any) -> int:
    """Return a sample rate in Hz as int.

    Raises:
        InputError: as `whole_number`, or above `HIGHEST_RATE`.
    """
    rate = whole_number(sample_rate, "a sample rate is given in Hz")
    if rate > HIGHEST_RATE:
        raise InputError(f"a sample rate is at most {HIGHEST_RATE} Hz, got {rate}")
    return rate
