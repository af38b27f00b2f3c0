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


def entry_of(group: Any, name: str) -> Any:
    """Return the group or the array at a path in an open group of h5py. No link to another file is followed.

    Raises:
        KeyError: there is nothing of that name.
        ValueError: a part of the path lies in another file.
    """
    import h5py

    for part in (part for part in name.split("/") if part not in ("", ".")):
        # h5py would open the other file, which may be a pipe that nobody writes to.
        if not isinstance(group.get(part, getlink=True), h5py.HardLink | None):
            raise ValueError(f"'{name}' lies in another file, or is a link")
        group = group[part]
    return group


def read_array(group: Any, name: str) -> NDArray[Any]:
    """Return an array of an open group of h5py.

    Raises:
        KeyError: there is no array of that name.
        ValueError: it holds no numbers, lies in another file, or is larger than the file can hold.
    """
    array = entry_of(group, name)
    if array.external or array.is_virtual:
        raise ValueError(f"'{name}' lies in another file")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"'{name}' holds {array.dtype}, not numbers")
    if array.nbytes > MAX_EXPANSION * os.path.getsize(group.file.filename):
        raise ValueError(f"'{name}' has {array.nbytes} bytes, more than the file can hold")
    return np.asarray(array[()])
