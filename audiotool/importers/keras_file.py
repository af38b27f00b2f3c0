"""Read Keras' HDF5 files: the weights by path, and the layers of a kind in the order of their numbers.

Keras numbers layers in the order in which a process made them ("conv1d", "conv1d_1", or "conv1d_40" in a
later model), so the order of the numbers gives a tensor's place, never a number itself.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiotool.documents import read_json
from audiotool.errors import CheckpointError, DependencyError
from audiotool.extras import install
from audiotool.importers.hdf5 import MAX_EXPANSION, entry_of, read_array

Group = dict[str, Tensor]
"""Tensors of one Keras layer by the part of their path after the layer's name."""


def read_keras(path: Path) -> dict[str, Any]:
    """Read a Keras file: {"weights": tensors by Keras' names, "description": the model as JSON, or None}.

    Raises:
        DependencyError: h5py is not installed.
        CheckpointError: the file is no Keras file, or is damaged.
    """
    try:
        import h5py
    except ImportError as error:
        raise DependencyError(
            f"Keras files are read with h5py: install it with `{install('keras')}`"
        ) from error
    try:
        with h5py.File(path, "r") as file:
            root = entry_of(file, "model_weights") if "model_weights" in list(file) else file
            tensors: dict[str, Tensor] = {}
            room = MAX_EXPANSION * path.stat().st_size
            for layer in (entry_of(root, key) for key in root):
                for name in layer.attrs.get("weight_names", ()):
                    text = name.decode() if isinstance(name, bytes) else str(name)
                    tensors[text] = torch.from_numpy(read_array(layer, text))
                    room -= tensors[text].nbytes
                    if room < 0:
                        raise ValueError("its arrays together are larger than the file can hold")
            text = file.attrs.get("model_config")
        return {"weights": tensors, "description": None if text is None else read_json(text)}
    except Exception as error:  # a damaged file can fail in HDF5 in any way
        raise CheckpointError(f"{path} is not a Keras HDF5 file, or it is damaged: {error}") from error


def numbered(tensors: Mapping[str, Tensor], name: str) -> list[Group]:
    """Group tensors by the part of their path called `name` or `name_<number>`, in order of the numbers."""
    groups: dict[int, Group] = defaultdict(dict)
    for path, tensor in tensors.items():
        found = re.search(rf"(?:^|/){name}(?:_(\d+))?/(.+)$", path)
        if found:
            groups[int(found.group(1) or 0)][found.group(2)] = tensor
    return [groups[number] for number in sorted(groups)]


def layer_tensor(group: Group, leaf: str) -> Tensor:
    """Return the tensor whose path ends with `leaf`, or `leaf:0` as Keras writes it.

    Raises:
        CheckpointError: the layer has none.
    """
    for path, tensor in group.items():
        if path.rpartition("/")[2].partition(":")[0] == leaf:
            return tensor
    raise CheckpointError(f"a layer of the network has no '{leaf}': it has {', '.join(group) or 'nothing'}.")


def lstm_weights(kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """Return the parameters of `nn.LSTM`. Keras has torch's order of gates (i, f, g, o), and one bias."""
    return {
        "weight_ih_l0": kernel.T,
        "weight_hh_l0": recurrent_kernel.T,
        "bias_ih_l0": bias,
        "bias_hh_l0": torch.zeros_like(bias),
    }
