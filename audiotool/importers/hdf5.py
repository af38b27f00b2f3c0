"""Read arrays of HDF5 files.

An HDF5 file can refer to data in other files, and a few of its bytes can stand for any number of zeros. Both
are refused.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_EXPANSION = 1100
"""Greatest ratio of the bytes of an array to those of the file, which is the limit of deflation."""


def read_array(group: Any, name: str) -> NDArray[Any]:
    """Return an array of an open group of h5py.

    Raises:
        KeyError: there is no array of that name.
        ValueError: it holds no numbers, lies in another file, or is larger than the file can hold.
    """
    array = group[name]
    if array.file.filename != group.file.filename or array.external or array.is_virtual:
        raise ValueError(f"'{name}' lies in another file")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"'{name}' holds {array.dtype}, not numbers")
    if array.nbytes > MAX_EXPANSION * os.path.getsize(group.file.filename):
        raise ValueError(f"'{name}' has {array.nbytes} bytes, more than the file can hold")
    return np.asarray(array[()])
