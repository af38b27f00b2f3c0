"""Users' arrays: numpy arrays and torch tensors as float32 samples, and back.

Samples are of any floating type with a full scale of 1, or int16 with a full scale of 32768.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from audiotool.errors import InputError

if TYPE_CHECKING:
    import torch

MOST_CHANNELS = 255
"""Greatest number of channels. An array with more has its axes exchanged, as soundfile reads files."""

INT16_SCALE = np.float32(32768)

Block = NDArray[np.float32]
"""Samples (channels, time) float32, as they are read, fed and written."""

Array: TypeAlias = "NDArray[Any] | torch.Tensor"
"""A numpy array or a torch tensor."""

ArrayT = TypeVar("ArrayT", bound="NDArray[Any] | torch.Tensor")
"""Type variable of the caller's kind of array, which is also returned."""


class UserArray(Generic[ArrayT]):
    """Convert a user's array to (channels, time) float32, and results back.

    Raises:
        InputError: other axes or types, NaN or infinite samples.
    """

    def __init__(self, waveform: ArrayT) -> None:
        # A caller who passes a tensor has imported torch; it is not imported for arrays.
        torch = sys.modules.get("torch")
        self.is_tensor = torch is not None and isinstance(waveform, torch.Tensor)
        values = _values_of(waveform) if self.is_tensor else np.asarray(waveform)
        if values.ndim not in (1, 2) or (values.ndim == 2 and not values.shape[0]):
            raise InputError(f"a waveform is (time,) or (channels, time), got the shape {values.shape}")
        if values.ndim == 2 and values.shape[0] > MOST_CHANNELS:
            raise InputError(
                f"a waveform is (channels, time), and {values.shape} would be {values.shape[0]} channels:"
                " transpose it"
            )
        if not np.issubdtype(values.dtype, np.floating) and values.dtype != np.int16:
            raise InputError(
                f"a waveform is floating point or int16, got {values.dtype}: divide other integers by their"
                " full scale"
            )
        self.waveform: Any = waveform
        self.flat = values.ndim == 1
        self.dtype = values.dtype
        self.block: NDArray[np.float32] = np.atleast_2d(values).astype(np.float32)
        if self.dtype == np.int16:
            self.block /= INT16_SCALE
            return
        finite = np.isfinite(self.block)
        if not finite.all():
            channel, at = np.argwhere(~finite)[0]
            raise InputError(
                f"the waveform holds {self.block[channel, at]} at sample {at} of channel {channel + 1}"
            )

    def restore(self, stems: NDArray[np.float32]) -> ArrayT:
        """Convert (stems, channels, time) to the user's kind; int16 is limited to full scale.

        Raises:
            InputError: samples are not finite.
        """
        if not np.isfinite(stems).all():
            raise InputError("the model answered with NaN or infinity: is the input far beyond full scale?")
        values: Any = stems[:, 0] if self.flat else stems
        values = values[0] if len(stems) == 1 else values
        if self.dtype == np.int16:
            values = np.rint(values * INT16_SCALE).clip(-INT16_SCALE, INT16_SCALE - 1).astype(np.int16)
        if self.is_tensor:
            import torch

            # numpy lacks some of torch's dtypes, such as bfloat16.
            values = torch.from_numpy(np.array(values, order="C"))
            return values.to(self.waveform.device, self.waveform.dtype)
        return values.astype(self.dtype)


def _values_of(tensor: Any) -> NDArray[Any]:
    """Return a tensor's values, of any device and dtype, as a numpy array; floating ones as float32.

    Raises:
        InputError: the tensor has no values (torch's device "meta").
    """
    if tensor.is_meta:
        raise InputError("the waveform is a tensor without values: its device is meta")
    plain = tensor.detach()
    values: NDArray[Any] = (plain.float() if plain.is_floating_point() else plain).cpu().numpy()
    return values
