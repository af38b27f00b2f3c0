"""Official WaveFlow files: L0SG's `waveflow_XXX` with its JSON, and Parakeet's `.pdparams` with its
configuration.

A `.pdparams` file is a pickle of arrays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiotool.errors import CheckpointError
from audiotool.importers.base import (
    Importer,
    Options,
    entries,
    entry,
    read_config,
    renamed,
    require,
    state_dict,
)
from audiotool.importers.mel import official_mel
from audiotool.importers.pickles import ArrayUnpickler, PickledArray
from audiotool.importers.torch_file import check_size
from audiotool.importers.waveglow import DATA_CONFIG, mel_definition
from audiotool.models.layers.weight_norm import fold_weights
from audiotool.value_types import quote

L0SG = {"n_height": "rows", "n_flow": "n_flows", "n_layer": "n_layers", "res_channels": "channels"}
"""Official keys of L0SG's configuration -> fields of `WaveFlowConfig`."""

PARAKEET = {
    "n_group": "rows",
    "n_flows": "n_flows",
    "n_layers": "n_layers",
    "channels": "channels",
    "kernel_size": "kernel_size",
    "upsample_factors": "upsample_factors",
}
"""Official keys of Parakeet's configuration -> fields of `WaveFlowConfig`."""

L0SG_NAMES = (
    (r"\.coupling\.net\.front_conv\.0\.conv\.", ".front_conv."),
    (r"\.coupling\.net\.res_blocks\.", ".res_blocks."),
    (r"\.filter_gate_conv\.conv\.", ".filter_gate_conv."),
    (r"\.coupling\.proj_log_s_t\.conv\.", ".proj_log_s_t."),
)

PARAKEET_NAMES = (
    (r"^encoder\.", "upsample_conv."),
    (r"^decoder\.(\d+)\.input_proj\.", r"flows.\1.front_conv."),
    (r"^decoder\.(\d+)\.output_proj\.", r"flows.\1.proj_log_s_t."),
    (r"^decoder\.(\d+)\.resnet\.(\d+)\.conv\.", r"flows.\1.res_blocks.\2.filter_gate_conv."),
    (r"^decoder\.(\d+)\.resnet\.(\d+)\.condition_proj\.", r"flows.\1.res_blocks.\2.filter_gate_conv_c."),
    (r"^decoder\.(\d+)\.resnet\.(\d+)\.out_proj\.", r"flows.\1.res_blocks.\2.res_skip_conv."),
)

PARAKEET_ROW_DILATIONS = {
    8: (1,),
    16: (1,),
    32: (1, 2, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 32, 64),
}
"""Number of rows -> dilations; fixed in the official code."""


def read_paddle(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.pdparams` file; no code in it is run.

    Raises:
        CheckpointError: the file is missing or damaged, or holds more than arrays.
    """
    try:
        with path.open("rb") as file:
            values = ArrayUnpickler(file).load()
        if not isinstance(values, Mapping):
            raise ValueError("it holds no dictionary")
        arrays = {key: value.array() for key, value in values.items() if isinstance(value, PickledArray)}
        check_size(sum(array.nbytes for array in arrays.values()), path)
        # A copy in native byte order, whose memory can be written.
        return {key: torch.from_numpy(np.array(a, a.dtype.newbyteorder("="))) for key, a in arrays.items()}
    except CheckpointError:
        raise
    except Exception as error:  # bytes that are no pickle can fail in the unpickler in any way
        raise CheckpointError(
            f"{path} is not a Paddle file of plain arrays ({error}), so it is refused"
        ) from error


def _from_parakeet(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Buffers of row orders have generated names; they follow from the configuration.
    used = {key: value for key, value in tensors.items() if ".generated_tensor_" not in key}
    for key in [k for k in used if k.endswith("weight_g")]:
        used[key] = used[key].reshape(-1, 1, 1, 1)
    return fold_weights(renamed(used, PARAKEET_NAMES))


def _from_l0sg(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    def layer(match: re.Match[str]) -> str:
        # Activations take every second place of the official list.
        return f"upsample_conv.{int(match[1]) // 2}."

    folded = fold_weights(renamed(tensors, L0SG_NAMES))
    return {re.sub(r"^upsample_conv\.(\d+)\.", layer, key): value for key, value in folded.items()}


class WaveFlowImporter(Importer):
    """Imports files of both programs; names of tensors tell them apart."""

    name = "waveflow"
    origin = "github.com/L0SG/WaveFlow or github.com/PaddlePaddle/Parakeet"
    licence = "BSD-3-Clause (L0SG) or Apache-2.0 (Parakeet)"
    task = "vocode"
    signature = ("flows.0.coupling.", "upsample_conv.0")
    options = (
        Options(
            "waveflow_config (L0SG)",
            taken=(*L0SG, "cin_channels", "n_layer_per_cycle", "coupling_type"),
            unused=("model_name",),
        ),
        DATA_CONFIG,
        Options(
            "model (Parakeet)",
            taken=tuple(PARAKEET),
            unused=("sigma",),
        ),
        Options(
            "data (Parakeet)",
            taken=("sample_rate", "n_fft", "win_length", "hop_length", "n_mels", "fmin", "fmax"),
            unused=("batch_size", "valid_size", "train_clip_seconds", "clip_frames"),
            closed=False,
        ),
    )

    def read(self, path: Path) -> Any:
        return read_paddle(path) if path.suffix.lower() == ".pdparams" else super().read(path)

    def weights(self, official: Any) -> dict[str, Tensor]:
        if _is_parakeet(official):
            return _from_parakeet(official)
        return _from_l0sg(state_dict(official, "model"))

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        path = require(config, "config.json")
        l0sg, _, parakeet, data = self.options
        if not _is_parakeet(official):
            return _l0sg_values(path, l0sg, self.weights(official))
        return _parakeet_values(path, parakeet, data)


def _is_parakeet(official: Any) -> bool:
    return isinstance(official, Mapping) and any(str(key).startswith("decoder.0.") for key in official)


def _l0sg_values(path: Path, options: Options, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    values = entry(read_config(path), "waveflow_config", source=str(path))
    options.check(values, str(path))
    sizes = entries(values, L0SG, str(path))
    bands = entry(values, "cin_channels", source=str(path))
    coupling = values.get("coupling_type", "waveflow")
    if coupling not in ("waveflow", "waveflow_bipartize"):
        raise CheckpointError(
            f"{path}: coupling_type {quote(coupling)} is neither waveflow nor waveflow_bipartize"
        )
    return {
        **sizes,
        "row_dilations": tuple(2**i for i in range(values.get("n_layer_per_cycle", 1))),
        "bipartize": coupling == "waveflow_bipartize",
        "synthesis_order": "published",
        # A layer's kernel is twice its stride.
        "upsample_factors": tuple(
            tensor.shape[3] // 2
            for key, tensor in sorted(tensors.items())
            if re.fullmatch(r"upsample_conv\.\d\.weight", key)
        ),
        "mel": mel_definition(path, bands),
        "weight_norm": False,
    }


def _parakeet_values(path: Path, options: Options, data_options: Options) -> dict[str, Any]:
    values = read_config(path)
    model = entry(values, "model", source=str(path))
    options.check(model, str(path))
    sizes = entries(model, PARAKEET, str(path))
    rows = sizes["rows"]
    if rows not in PARAKEET_ROW_DILATIONS:
        raise CheckpointError(
            f"{path}: n_group {rows} is not one of {', '.join(map(str, PARAKEET_ROW_DILATIONS))}"
        )
    data = entry(values, "data", source=str(path))
    data_options.check(data, str(path))
    # Parakeet's keys are those of `MelConfig`.
    names = {key: key for key in data_options.taken}
    fields = {key: data[key] for key in names if key in data}
    return {
        **sizes,
        "row_dilations": PARAKEET_ROW_DILATIONS[rows],
        # The official code always reverses halves in the second half of the flows.
        "bipartize": True,
        "synthesis_order": "published",
        "mel": official_mel({"preset": "tacotron2", **fields}, names, str(path)),
        "weight_norm": False,
    }
