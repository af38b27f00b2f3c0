"""Official Hybrid Demucs files: released packages (`.th`) of Demucs, and torchaudio's state dicts (`.pt`).

A package holds the pickled reference to its class beside the arguments and the weights (half precision). The
reference becomes an empty stand-in; any other is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiotool.errors import CheckpointError
from audiotool.importers.base import Importer, Options, entry, read_config, state_dict
from audiotool.importers.torch_file import read_torch

CLASS = "demucs.hdemucs.HDemucs"

UNSUPPORTED = ("demucs.htdemucs.HTDemucs", "demucs.demucs.Demucs", "fractions.Fraction")
"""Other networks of the project, and what their packages hold besides, so that the refusal names them."""

NAMES = {"nfft": "n_fft", "samplerate": "sample_rate"}
"""Official arguments -> fields of `HybridDemucsConfig` with another name."""

BRANCHES = {
    "encoder": "freq_encoder",
    "tencoder": "time_encoder",
    "decoder": "freq_decoder",
    "tdecoder": "time_decoder",
}
"""Prefixes of the parts of the official network and of torchaudio's -> prefixes in audiotool."""


class HybridDemucsImporter(Importer):
    """A package needs no configuration file; a state dict needs one with the network's arguments.

    That file (JSON or YAML) has the official or torchaudio argument names, at the top or under "kwargs".
    """

    name = "hybrid-demucs"
    origin = "github.com/facebookresearch/demucs"
    licence = "MIT"
    task = "separate"
    signature = ("encoder.0.dconv.layers.0.0.weight", "freq_emb.embedding.weight")
    options = (
        Options(
            "arguments of HDemucs",
            taken=(
                *("sources", "audio_channels", "channels", "channels_time", "growth", "nfft", "cac"),
                *("wiener_iters", "depth", "rewrite", "hybrid", "hybrid_old", "multi_freqs"),
                *("multi_freqs_depth", "freq_emb", "emb_scale", "emb_smooth", "kernel_size", "time_stride"),
                *("stride", "context", "context_enc", "norm_starts", "norm_groups", "dconv_mode"),
                *("dconv_depth", "dconv_comp", "dconv_attn", "dconv_lstm", "dconv_init", "samplerate"),
            ),
            fixed={"wiener_residual": (False,)},
            unused=("segment", "rescale", "end_iters"),
        ),
    )

    def read(self, path: Path) -> Any:
        return read_torch(path, stand_ins=[CLASS, *UNSUPPORTED])

    def weights(self, official: Any) -> dict[str, Tensor]:
        is_package = isinstance(official, Mapping) and "klass" in official
        state = entry(official, "state") if is_package else state_dict(official, "state_dict")
        if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
            raise CheckpointError(
                "the weights are quantised or not a state dict: import an unquantised package"
            )
        unused = _unused_norms(state)
        return {_rename(k): v.to(torch.float32) for k, v in state.items() if not k.startswith(unused)}

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        if isinstance(official, Mapping) and "klass" in official:
            if official["klass"].__name__ != CLASS.rpartition(".")[2]:
                raise CheckpointError(
                    f"this package holds another network of the project, {official['klass'].__name__}: only"
                    " HDemucs is supported (hdemucs_mmi)"
                )
            if config is not None:
                raise CheckpointError("this package says how its network was built: leave --config out")
            if official.get("args"):
                raise CheckpointError("this package gives arguments by position, which no released one does")
            values, source = dict(entry(official, "kwargs")), "the package"
        elif config is not None:
            values, source = read_config(config), str(config)
            values = dict(values.get("kwargs", values))
        else:
            raise CheckpointError(
                "a state dict does not say how its network was built: give --config network.json with"
                ' its arguments, such as {"sources": ["speech", "noise"], "nfft": 1024, "depth": 5}'
            )
        (arguments,) = self.options
        arguments.check(values, source)
        if values.get("multi_freqs", ()) is None:
            del values["multi_freqs"]
        if values.get("freq_emb", 0) is None:
            values["freq_emb"] = 0
        taken = {NAMES.get(str(k), str(k)): v for k, v in values.items() if k in arguments.taken}
        return {"dconv_init": 1e-4, **taken}


def _unused_norms(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the prefix of the unused norm that only torchaudio has, in its last time encoder, if any."""
    levels = [int(m.group(1)) for k in state if (m := re.match(r"time_encoder\.(\d+)\.", k))]
    return (f"time_encoder.{max(levels)}.norm1.",) if levels else ()


def _rename(key: str) -> str:
    part, _, rest = key.partition(".")
    return f"network.{BRANCHES.get(part, part)}.{rest}"
