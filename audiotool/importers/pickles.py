"""Pickles of other programs, read without running anything of theirs.

An unpickler is as harmless as what it can call. This one calls what its reader names, and the readers name
functions that only keep their arguments: arrays and tensors are made afterwards, from arguments that were
checked.
"""

from __future__ import annotations

import collections
import math
import pickle
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

PLAIN: dict[tuple[str, str], Any] = {
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("collections", "OrderedDict"): collections.OrderedDict,
}
"""Containers that every pickle may refer to."""


# The C unpickler keeps its memo in a list as long as the largest number in the file, whatever is in it.
class InertUnpickler(pickle._Unpickler):
    """Reads plain values, and calls nothing but what it is given.

    Args:
        file: open for reading, at the beginning of a pickle; left behind the pickle's end.
        known: what stands for each (module, name) that the file may refer to. Classes among it must be made
            for this one file: a pickle may set their attributes.
        encoding: of text that Python 2 wrote.
    """

    def __init__(
        self, file: IO[bytes], known: Mapping[tuple[str, str], Any] | None = None, encoding: str = "ASCII"
    ) -> None:
        super().__init__(file, encoding=encoding)
        self._known = {**PLAIN, **(known or {})}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._known:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return self._known[module, name]


class ArrayUnpickler(InertUnpickler):
    """Reads numpy arrays as `PickledArray`; their own unpickling trusts the file with memory addresses."""

    def __init__(self, file: IO[bytes]) -> None:
        made = type("PickledArray", (PickledArray,), {})
        known = {
            ("numpy", "ndarray"): made,
            ("numpy", "dtype"): type("PickledType", (PickledType,), {}),
            ("_codecs", "encode"): _encode,
        }
        known |= {(f"numpy.{core}.multiarray", "_reconstruct"): _maker(made) for core in ("core", "_core")}
        super().__init__(file, known, encoding="latin1")


class PickledArray:
    """The arguments of a numpy array."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> NDArray[Any]:
        """The array itself.

        Raises:
            ValueError: type, shape and content do not belong together, or it holds something but numbers.
        """
        _, shape, kind, by_columns, content = self.state
        dtype = kind.dtype()
        raw = content.encode("latin1") if isinstance(content, str) else content
        if not isinstance(raw, bytes) or len(raw) != dtype.itemsize * math.prod(shape):
            raise ValueError(f"an array of shape {shape} and {dtype} holds another number of bytes")
        return np.frombuffer(raw, dtype).reshape(shape, order="F" if by_columns else "C")


class PickledType:
    """The arguments of a numpy type; `code` as "f4"."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code
        self.state: Any = (3, "|")

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def dtype(self) -> np.dtype[Any]:
        """The type itself.

        Raises:
            ValueError: it is not of numbers.
        """
        order = {"<": "<", ">": ">", "|": "|", "=": "="}.get(self.state[1])
        if self.code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1") or order is None:
            raise ValueError(f"an array is of type {self.code!r}, which is not of numbers")
        return np.dtype(self.code).newbyteorder(order)


def _maker(kind: type[PickledArray]) -> Callable[..., PickledArray]:
    return lambda *_: kind()


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in protocol 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are encoded as {encoding}")
    return text.encode("latin1")
