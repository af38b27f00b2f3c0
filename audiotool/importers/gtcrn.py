"""Official GTCRN checkpoints: `model_trained_on_dns3.tar` and such, torch files despite the name, and the
streaming graphs `gtcrn.onnx` and `gtcrn_simple.onnx`.

A graph's weights are found by the order of the operations that use them. The norms of the encoder are folded
into its convolutions in a graph, so that the model gets norms that change nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiotool.errors import CheckpointError
from audiotool.importers.base import Importer, state_dict
from audiotool.importers.endings import ending_of
from audiotool.importers.onnx_file import GRU_ORDER, OnnxGraph, read_onnx

ENCODER = [f"encoder.en_convs.{n}" for n in range(5)]
DECODER = [f"decoder.de_convs.{n}" for n in range(5)]
PARTS = ("encoder.", "decoder.", "dpgrnn", "erb.")

FOLDED = [
    *((f"{place}.conv", f"{place}.bn") for place in ENCODER[:2]),
    *(
        (f"{place}.{conv}", f"{place}.{norm}")
        for place in ENCODER[2:]
        for conv, norm in (
            *(("point_conv1", "point_bn1"), ("depth_conv", "depth_bn")),
            ("point_conv2", "point_bn2"),
        )
    ),
]
"""Convolutions and norms of the encoder in the order of a graph."""

SLOPES = [
    *(f"{place}.act" for place in ENCODER[:2]),
    *(f"{place}.{act}" for place in ENCODER[2:] + DECODER[:3] for act in ("point_act", "depth_act")),
    f"{DECODER[3]}.act",
]

PATHS = [f"dpgrnn{n}.{path}" for n in (1, 2) for path in ("intra", "inter")]

RECURRENT = [
    *(f"{place}.tra.att_gru" for place in ENCODER[2:]),
    *(f"{path}_rnn.rnn{n}" for path in PATHS for n in (1, 2)),
    *(f"{place}.tra.att_gru" for place in DECODER[:3]),
]

MATRICES = [
    "erb.erb_fc",
    *(f"{place}.tra.att_fc" for place in ENCODER[2:]),
    *(f"{path}_fc" for path in PATHS),
    *(f"{place}.tra.att_fc" for place in DECODER[:3]),
    "erb.ierb_fc",
]

EPSILON = 1e-5
"""Added to the variances of the norms."""


class GTCRNImporter(Importer):
    """The network has one configuration and no configuration file."""

    name = "gtcrn"
    origin = "github.com/Xiaobin-Rong/gtcrn"
    licence = "MIT"
    # The torch files and the graphs have these names.
    signature = ("encoder.en_convs.2.tra.att_fc", "decoder.de_convs.0.point_conv1", "dpgrnn1.intra_ln")
    reads_config = False

    def read(self, path: Path) -> Any:
        return _official_names(read_onnx(path)) if ending_of(path) == ".onnx" else super().read(path)

    def weights(self, official: Any) -> dict[str, Tensor]:
        tensors, renamed = state_dict(official, "model"), {}
        narrow, wide = (tensors.get(f"erb.{name}.weight") for name in ("erb_fc", "ierb_fc"))
        if narrow is not None and wide is not None and not torch.equal(narrow.T, wide):
            raise CheckpointError(
                "erb.ierb_fc.weight is not the transpose of erb.erb_fc.weight: this GTCRN cannot be imported"
            )
        for key, value in tensors.items():
            if key == "erb.ierb_fc.weight":
                continue
            new = key.replace("encoder.en_convs", "encoder").replace("decoder.de_convs", "decoder")
            new = re.sub(r"^dpgrnn(\d)", lambda m: f"recurrences.{int(m[1]) - 1}", new)
            new = "erb_filters" if key == "erb.erb_fc.weight" else new
            renamed[new] = _turn(new, value) if value.dim() == 4 else value
        return renamed

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        return {}


def _official_names(graph: OnnxGraph) -> dict[str, Tensor]:
    """Return the weights by the names of the official module."""
    found = {
        key.replace(".ConvTranspose2d.", "."): value
        for key, value in graph.tensors.items()
        if "::" not in key
    }
    convolutions, slopes = list(graph.uses("Conv")), list(graph.uses("PRelu"))
    recurrent, matrices = list(graph.uses("GRU")), list(graph.uses("MatMul", axes=2))
    if not any(key.startswith("dpgrnn1.") for key in found):
        return graph.tensors
    for kind, count, expected in (
        ("convolutions", len(convolutions), len(FOLDED)),
        ("slopes", len(slopes), len(SLOPES)),
        ("GRUs", len(recurrent), len(RECURRENT)),
        ("matrices", len(matrices), len(MATRICES)),
    ):
        if count != expected:
            raise graph.refusal(f"this GTCRN has {count} {kind}, {expected} are expected")
    for (operation, weight), (name, norm) in zip(convolutions, FOLDED, strict=True):
        bias = graph.tensor(operation.inputs[2])
        found |= {f"{name}.weight": weight, f"{name}.bias": bias, **_neutral_norm(norm, len(bias))}
    for (_, slope), name in zip(slopes, SLOPES, strict=True):
        found[f"{name}.weight"] = slope.reshape(-1)
    for (_, matrix), name in zip(matrices, MATRICES, strict=True):
        found[f"{name}.weight"] = matrix.T.contiguous()
    for (operation, _), name in zip(recurrent, RECURRENT, strict=True):
        for weights, suffix in zip(graph.recurrent(operation, GRU_ORDER), ("", "_reverse"), strict=False):
            found |= {f"{name}.{key}_l0{suffix}": value for key, value in weights.items()}
    for key in [k for k in found if k.endswith(".running_mean")]:
        found.setdefault(key.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return {key: value for key, value in found.items() if key.startswith(PARTS)}


def _neutral_norm(name: str, channels: int) -> dict[str, Tensor]:
    """Return the tensors of a batch norm that changes nothing."""
    values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1 - EPSILON}
    return {f"{name}.{key}": torch.full((channels,), value) for key, value in values.items()}


def _turn(key: str, kernel: Tensor) -> Tensor:
    """Permute a kernel (.., time, frequency) to (.., frequency, time), and make a transposed convolution of
    stride 1 a plain one."""
    kernel = kernel.transpose(2, 3)
    if key.startswith("decoder"):
        if "point_conv" in key:
            kernel = kernel.transpose(0, 1)
        if "depth_conv" in key:
            kernel = kernel.flip(2, 3)
    return kernel.contiguous()
