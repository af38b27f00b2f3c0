"""Read pickles of other programs without running their code.

A pickle can call whatever its unpickler finds. This unpickler finds only the functions that its caller
passes, and these only keep their arguments. Arrays and tensors are made afterwards from checked arguments.
"""

from __future__ import annotations

import collections
import math
import os
import pickle
from collections.abc import Callable, Mapping
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

PLAIN: dict[tuple[str, str], Any] = {
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("collections", "OrderedDict"): collections.OrderedDict,
}
"""Classes that every pickle may refer to."""


class CountedReader:
    """A file that reads no more bytes than it has left: reads of more fail before memory is taken."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.readline = file, file.readline
        here = file.tell()
        self._size = file.seek(0, os.SEEK_END)
        file.seek(here)

    def read(self, count: int) -> bytes:
        if count > self._size - self._file.tell():
            raise pickle.UnpicklingError("it ends too early")
        return self._file.read(count)


# The C unpickler allocates a memo as long as the largest index in the file, which may be any number.
class InertUnpickler(pickle._Unpickler):
    """Reads plain values, and calls nothing but the given functions.

    Args:
        file: open for reading, at the beginning of a pickle; left behind the pickle's end.
        known: (module, name) that the file may refer to -> its replacement. Classes must be made for this
            one file, because a pickle may set their attributes.
        encoding: encoding of text that Python 2 wrote.
    """

    def __init__(
        self, file: IO[bytes], known: Mapping[tuple[str, str], Any] | None = None, encoding: str = "ASCII"
    ) -> None:
        super().__init__(CountedReader(file), encoding=encoding)
        self._known = {**PLAIN, **(known or {})}

    def load_bytearray8(self) -> None:
        """Refuse an array of bytes: `pickle` makes it before it looks whether the file has as many."""
        raise pickle.UnpicklingError("it refers to builtins.bytearray")

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: load_bytearray8}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._known:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return self._known[module, name]


class ArrayUnpickler(InertUnpickler):
    """Reads numpy arrays as `PickledArray`, because numpy's unpickling can be made to write to any
    address."""

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
        """Return the array.

        Raises:
            ValueError: type, shape and content do not fit each other, or it does not hold numbers.
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
        """Return the type.

        Raises:
            ValueError: it is no type of numbers.
        """
        order = {"<": "<", ">": ">", "|": "|", "=": "="}.get(self.state[1])
        if self.code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1") or order is None:
            raise ValueError(f"an array is of type {self.code!r}, which is not of numbers")
        return np.dtype(self.code).newbyteorder(order)


def _maker(kind: type[PickledArray]) -> Callable[..., PickledArray]:
    return lambda *_: kind()


def _encode(text: str, encoding: str) -> bytes:
    """Encode text as `_codecs.encode`, which Python 3 uses for bytes in protocol 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are encoded as {encoding}")
    return text.encode("latin1")
