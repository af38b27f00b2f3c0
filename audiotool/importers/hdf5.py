"""Arrays of HDF5 files: numbers that the file itself holds.

HDF5 lets a file name others, and read them in its place, and lets few bytes stand for any number of zeros.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_EXPANSION = 1100
"""Bytes of an array in a byte of the file: what deflation reaches at most."""


def read_array(group: Any, name: str) -> NDArray[Any]:
    """An array of an open group of h5py.

    Raises:
        KeyError: there is none of that name.
        ValueError: it is not of numbers, lies in another file, or is larger than the file can hold.
    """
    array = group[name]
    if array.file.filename != group.file.filename or array.external or array.is_virtual:
        raise ValueError(f"'{name}' lies in another file")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"'{name}' holds {array.dtype}, not numbers")
    if array.nbytes > MAX_EXPANSION * os.path.getsize(group.file.filename):
        raise ValueError(f"'{name}' has {array.nbytes} bytes, more than the file can hold")
    return np.asarray(array[()])
