"""Read pickles of other programs without running their code.

A pickle can call whatever its unpickler finds. This unpickler finds only the functions that its caller
passes, and these only keep their arguments. Arrays and tensors are made afterwards from checked arguments.
"""

from __future__ import annotations

import collections
import math
import os
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from audiotool.documents import MAX_DEPTH
from audiotool.value_types import quote

PLAIN: dict[tuple[str, str], Any] = {
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("collections", "OrderedDict"): collections.OrderedDict,
}
"""Classes that every pickle may refer to."""

MAX_PARTS = 10_000
"""Greatest number of values in a tuple or the arguments of a call, those inside them included."""

MAX_VALUES = 1_000_000
"""Greatest number of values that a loaded one holds."""

MAX_DIMENSIONS = 32
"""Greatest number of dimensions of an array, as in numpy 1: a product of more sizes can take any time."""

MUTATING = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
"""Instructions that change the lowest of the values that they take, and leave it on the stack."""


class Oversized(ValueError):
    """Raised for a pickle of a few bytes that stand for too many values."""


def check_tuples(file: IO[bytes]) -> None:
    """Check how many values the tuples of a pickle stand for, before it is loaded; the file's position stays.

    A tuple may hold another one several times, and so on: a few bytes stand for any number of values, and
    Python visits all of them to hash a key, in one call that nothing interrupts.

    Raises:
        Oversized: a tuple holds more than `MAX_PARTS` values.
        Exception: it is no pickle; the kinds are those of `pickletools`.
    """
    start, reader = file.tell(), CountedReader(file)
    stacks: list[list[int]] = [[]]
    memo: dict[int, int] = {}
    argument: Any
    for instruction, argument, _ in pickletools.genops(reader):  # type: ignore[arg-type]
        name, stack = instruction.name, stacks[-1]
        if name == "MARK":
            stacks.append([])
        elif name == "FRAME":
            reader.check(argument)
        elif name.endswith("PUT") or name == "MEMOIZE":
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif name.endswith("GET"):
            stack.append(memo[argument])
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "POP" and not stack:
            stacks.pop()
        else:
            taken = instruction.stack_before
            marked = pickletools.markobject in taken
            inside = stacks.pop() if marked else []
            below = taken.index(pickletools.markobject) if marked else len(taken)
            stack = stacks[-1]
            held = stack[len(stack) - below :] + inside
            del stack[len(stack) - below :]
            if instruction.stack_after:
                stack.append(held[0] if name in MUTATING else 1 + sum(held))
                if stack[-1] > MAX_PARTS:
                    raise Oversized(f"a tuple in it stands for more than {MAX_PARTS} values")
    file.seek(start)


def check_extent(value: Any) -> None:
    """Check how many values a loaded value holds, each as often as it is used, and how deeply.

    Lists and dictionaries can hold another one several times, as tuples can, and themselves.

    Raises:
        Oversized: it holds more than `MAX_VALUES` values, or more than `MAX_DEPTH` levels.
    """
    _measure(value, {})


def _measure(value: Any, done: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Return the number of values and of levels."""
    if not isinstance(value, dict | list | tuple | set):
        return 1, 1
    if id(value) not in done:
        # What is not measured yet is inside of itself.
        done[id(value)] = MAX_VALUES, MAX_DEPTH
        inner = [_measure(held, done) for held in (value.values() if isinstance(value, dict) else value)]
        number = 1 + sum(count for count, _ in inner)
        depth = 1 + max((levels for _, levels in inner), default=0)
        if number > MAX_VALUES or depth > MAX_DEPTH:
            raise Oversized(
                f"it holds more than {MAX_VALUES} values, or more than {MAX_DEPTH} levels of them"
            )
        done[id(value)] = number, depth
    return done[id(value)]


class CountedReader:
    """A file that reads no more bytes than it has left: reads of more fail before memory is taken."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.readline = file, file.readline
        here = file.tell()
        self._size = file.seek(0, os.SEEK_END)
        file.seek(here)

    def check(self, count: int) -> None:
        """Raise `pickle.UnpicklingError` unless the file has `count` bytes left."""
        if count > self._size - self._file.tell():
            raise pickle.UnpicklingError("it ends too early")

    def read(self, count: int) -> bytes:
        self.check(count)
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
        self._file = file
        self._known = {**PLAIN, **(known or {})}

    def load(self) -> Any:
        """Return the value of the pickle.

        Raises:
            Exception: it is refused, or no pickle.
        """
        check_tuples(self._file)
        return super().load()

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
        if len(shape) > MAX_DIMENSIONS or not all(type(size) is int for size in shape):
            raise ValueError(f"an array has the shape {quote(shape)}")
        raw = content.encode("latin1") if isinstance(content, str) else content
        if not isinstance(raw, bytes) or len(raw) != dtype.itemsize * math.prod(shape):
            raise ValueError(f"an array of shape {quote(shape)} and {dtype} holds another number of bytes")
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
            raise ValueError(f"an array is of type {quote(self.code)}, which is not of numbers")
        return np.dtype(self.code).newbyteorder(order)


def _maker(kind: type[PickledArray]) -> Callable[..., PickledArray]:
    return lambda *_: kind()


def _encode(text: str, encoding: str) -> bytes:
    """Encode text as `_codecs.encode`, which Python 3 uses for bytes in protocol 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are encoded as {encoding}")
    return text.encode("latin1")
