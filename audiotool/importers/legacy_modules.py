"""Whole modules in torch's format from before 1.6, read as plain objects.

torch's own restricted reader takes tensors from such files but no modules. This one lets the same few
functions that rebuild tensors through, and puts an empty class for each class of the file: nothing of it is
run.
"""

from __future__ import annotations

import collections
import pickle
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from audiotool.errors import CheckpointError

REBUILDERS = {
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}
"""All that a pickled module calls; classes of storages are known to torch's reader itself."""


def read_legacy_module(path: Path, stand_ins: Sequence[str]) -> Any:
    """Read a file of `torch.save` (torch before 1.6) that may hold modules.

    Args:
        stand_ins: dotted names of classes it may mention; each becomes an empty class, its instances plain
            objects with the pickled attributes.
    Raises:
        CheckpointError: damaged, or it mentions anything else.
    """
    classes = {tuple(name.rsplit(".", 1)): type(name.rpartition(".")[2], (), {}) for name in stand_ins}

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            known = REBUILDERS.get((module, name)) or classes.get((module, name))
            if known is None:
                raise pickle.UnpicklingError(f"it refers to {module}.{name}")
            return known

    reader = types.SimpleNamespace(
        __name__="pickle", Unpickler=Unpickler, load=lambda file, **options: Unpickler(file, **options).load()
    )
    try:
        with warnings.catch_warnings():
            # torch compares the classes' sources with those in the file and finds none.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False)
    except Exception as error:  # bytes that are no pickle fail inside the unpickler in every possible way
        raise CheckpointError(
            f"{path} is not a checkpoint of tensors and known modules ({error}), so it is refused"
        ) from error
