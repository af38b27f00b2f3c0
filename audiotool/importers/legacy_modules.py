"""Read whole modules in the format of torch before 1.6 as plain objects.

torch's restricted reader takes tensors from such files but no modules, and its other reader runs the code of
files that look like TorchScript. The format is five pickles (a magic number, a protocol, facts of the
machine, the object, the keys of its storages), then the storages in the order of the keys: the number of
values, and the values.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

from audiotool.errors import CheckpointError
from audiotool.importers.pickles import InertUnpickler

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""Class of a storage -> type of its values."""


class StorageReference(NamedTuple):
    """A storage in the pickle: type and number of its values."""

    key: Any
    dtype: Any
    count: Any


class TensorReference(NamedTuple):
    """A tensor in the pickle."""

    storage: Any
    offset: Any
    size: Any
    stride: Any

    def of(self, storages: Mapping[Any, Tensor]) -> Tensor:
        """Return the tensor, in the memory of its storage.

        Raises:
            ValueError: it is larger than its storage.
        """
        values = storages[self.storage.key]
        size, stride = list(self.size), list(self.stride)
        if len(size) != len(stride) or any(
            not isinstance(n, int) or n < 0 for n in (self.offset, *size, *stride)
        ):
            raise ValueError("a tensor's place in its storage is not of numbers")
        last = self.offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if math.prod(size) > len(values) or (math.prod(size) and last >= len(values)):
            raise ValueError("a tensor is larger than its storage")
        return values.as_strided(size, stride, self.offset)


class ModuleUnpickler(InertUnpickler):
    """Reads tensors as references, and instances of the `stand_ins` as objects with attributes."""

    def __init__(self, file: IO[bytes], stand_ins: Sequence[str]) -> None:
        known: dict[tuple[str, str], Any] = {}
        for name in stand_ins:
            module, _, plain = name.rpartition(".")
            known[module, plain] = type(plain, (), {})
        for name, dtype in STORAGES.items():
            known["torch", name] = known["torch.cuda", name] = dtype
        for name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            known["torch._utils", name] = lambda *arguments: TensorReference(*arguments[:4])
        known["torch._utils", "_rebuild_parameter"] = lambda tensor, *_: tensor
        super().__init__(file, known)
        self.storages: dict[Any, StorageReference] = {}

    def persistent_load(self, pid: Any) -> Any:
        kind, *facts = pid
        if kind == "module":
            # The source of the class follows, which is not needed.
            return facts[0]
        dtype, key, _, count, view = facts
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError("it was written by torch before 0.4")
        return self.storages.setdefault(key, StorageReference(key, dtype, count))


def is_legacy(path: Path) -> bool:
    """Return whether a file begins like those of torch before 1.6."""
    try:
        with path.open("rb") as file:
            return bool(InertUnpickler(file).load() == MAGIC)
    except Exception:  # bytes that are no pickle can fail in the unpickler in any way
        return False


def read_legacy_module(path: Path, stand_ins: Sequence[str]) -> Any:
    """Read a file of `torch.save` (torch before 1.6) that may hold modules.

    Args:
        stand_ins: dotted names of classes it may mention; each becomes an empty class, its instances plain
            objects with the pickled attributes.
    Raises:
        CheckpointError: damaged, or it mentions anything else.
    """
    try:
        with path.open("rb") as file:
            return _read(file, stand_ins, path.stat().st_size)
    except Exception as error:  # see above
        raise CheckpointError(
            f"{path} is not a checkpoint of tensors and known modules ({error}), so it is refused"
        ) from error


def _read(file: IO[bytes], stand_ins: Sequence[str], size: int) -> Any:
    beginning = [InertUnpickler(file).load() for _ in range(3)]
    if beginning[:2] != [MAGIC, PROTOCOL]:
        raise ValueError("it does not begin as such a file does")
    if not beginning[2].get("little_endian"):
        raise ValueError("it was written on a machine of another byte order")
    reader = ModuleUnpickler(file, stand_ins)
    result = reader.load()
    storages = {}
    for key in InertUnpickler(file).load():
        _, dtype, count = reader.storages[key]
        if int.from_bytes(file.read(8), "little") != count or count * dtype.itemsize > size - file.tell():
            raise ValueError("it ends too early")
        raw = bytearray(file.read(count * dtype.itemsize))
        storages[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
    return _resolved(result, storages, {})


def _resolved(value: Any, storages: Mapping[Any, Tensor], done: dict[int, Any]) -> Any:
    """Replace the references in dictionaries and attributes of a value by tensors; each is visited once."""
    if isinstance(value, TensorReference):
        return value.of(storages)
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, dict):
        done[id(value)] = found = {}
        found.update({key: _resolved(inner, storages, done) for key, inner in value.items()})
        return found
    if not isinstance(value, type) and hasattr(value, "__dict__"):
        done[id(value)] = value
        value.__dict__ = _resolved(vars(value), storages, done)
    return value
