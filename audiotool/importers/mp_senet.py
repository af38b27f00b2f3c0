"""Official MP-SENet checkpoints: `g_<step>` or `g_best…`, and the `config.json` beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from audiotool.importers.base import Importer, Options, entries, read_config, require, state_dict

NAMES = {
    "dense_channel": "dense_channel",
    "compress_factor": "compress_factor",
    "beta": "beta",
    "sampling_rate": "sample_rate",
    "n_fft": "n_fft",
    "hop_size": "hop_length",
    "win_size": "win_length",
}
"""Official configuration keys -> those of `MPSENetConfig`. The number of blocks is counted in the weights,
because the official program ignores its key for it."""


class MPSENetImporter(Importer):
    """Keeps the published order of axes; weights trained with batch_first need `sequence_axis` "intended"."""

    name = "mp-senet"
    origin = "github.com/yxlu-0102/MP-SENet"
    licence = "MIT"
    signature = (
        "TSTransformer.0.time_transformer.ffn.gru.weight_ih_l0",
        "dense_encoder.dense_conv_1.0.weight",
    )
    options = (
        Options(
            "config.json",
            taken=tuple(NAMES),
            # The official program ignores the number of blocks and takes its default.
            unused=("num_tsconformers", "segment_size", "batch_size", "learning_rate"),
            closed=False,
        ),
    )

    def weights(self, official: Any) -> dict[str, Tensor]:
        return state_dict(official, "generator")

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        path = require(config, "config.json")
        values = read_config(path)
        names = self.weights(official)
        blocks = {name.split(".")[1] for name in names if name.startswith("TSTransformer.")}
        return entries(values, NAMES, str(path)) | {"n_blocks": len(blocks)}
