"""FastEnhancer's published ONNX exports, from waveform to waveform, norms folded.

Convolutions, biases and positions keep their names; matrices that the exporter transposed are found by their
place in the graph. Sizes are read from the tensors, the hop from the length of the overlap in the graph's
state. No file holds the sample rate. It is 16 kHz for frames of 512 samples; other frames need the project's
configuration (`config.yaml`), whose sizes are compared with the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from audiotool.errors import CheckpointError
from audiotool.importers.base import Importer, Options, count, entry, read_config, renamed
from audiotool.importers.onnx_file import OnnxGraph, read_onnx
from audiotool.value_types import quote

RENAMED = (
    (r"^encoder\.(\d+)\.0\.", r"encoder.\1.0."),
    (r"^rf_(pre|post)\.1\.", r"rf_\1.0."),
    (r"^rf_block\.", "blocks."),
    (r"^decoder\.(\d+)\.0\.", r"decoder.\1.0.0."),
    (r"^decoder\.(\d+)\.2\.", r"decoder.\1.1.0."),
    (r"^dec_post\.2\.", "mask."),
)
"""(pattern of official names, replacement)."""

BLOCK_MATRICES = (
    "rnn.weight_ih_l0",
    "rnn.weight_hh_l0",
    "rnn_fc.weight",
    "attn.qkv.weight",
    "attn_fc.weight",
)
"""Matrices of a block in the order in which the graph uses them."""

SPECTRA = (
    "an export from spectrum to spectrum says nothing of its hop: import the one from waveform to waveform"
)


class FastEnhancerImporter(Importer):
    """Sizes T, B, S, M and L, with a buffer of the input in the graph or without."""

    name = "fastenhancer"
    origin = "github.com/aask1357/fastenhancer"
    licence = "MIT"
    signature = ("enc_pre.0.weight", "rf_block.0.rnn.bias_ih_l0", "dec_post.2.weight")
    options = (
        Options(
            "model_kwargs",
            taken=("channels", "kernel_size", "stride", "rnnformer_kwargs", "n_fft", "hop_size", "win_size"),
            fixed={
                "window": ("hann",),
                "stft_normalized": (False,),
                "mask": (None,),
                "activation": ("SiLU",),
                "input_compression": (0.3,),
                "resnet": (False,),
            },
            unused=("pre_post_init", "activation_kwargs", "normalize_final_conv", "weight_norm"),
        ),
        Options(
            "rnnformer_kwargs",
            taken=("num_blocks", "channels", "freq", "num_heads", "positional_embedding"),
            fixed={"attn_bias": (False,), "post_act": (False,), "pre_norm": (False,)},
            unused=("eps", "p_dropout"),
        ),
    )

    def read(self, path: Path) -> Any:
        graph = read_onnx(path)
        return {"weights": _official_names(graph), "graph": graph}

    def weights(self, official: Any) -> dict[str, Tensor]:
        tensors = renamed(entry(official, "weights"), RENAMED)
        stride = _stride(official["graph"])
        # Exported as a convolution of stride 1 over groups of `stride` bins.
        folded = entry(tensors, "enc_pre.0.weight")
        grouped = folded.unflatten(1, (stride, -1)).permute(0, 2, 3, 1)
        return {**tensors, "enc_pre.0.weight": grouped.flatten(2)}

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        weights, graph = entry(official, "weights"), official["graph"]
        sizes = _sizes(weights, graph)
        if config is None:
            if sizes["n_fft"] != 512:
                raise CheckpointError(
                    f"frames of {sizes['n_fft']} samples do not tell the sample rate: give the project's"
                    " configuration with --config config.yaml"
                )
            return {**sizes, "sample_rate": 16000}
        values = read_config(config)
        given = entry(values, "model_kwargs", source=str(config))
        self._compare(given, sizes, str(config))
        return {**sizes, "sample_rate": entry(values, "data", "sampling_rate", source=str(config))}

    def _compare(self, given: Mapping[str, Any], sizes: Mapping[str, Any], source: str) -> None:
        network, blocks = self.options
        network.check(given, source)
        inner = given.get("rnnformer_kwargs", {})
        blocks.check(inner, source)
        configured = {
            "channels": given.get("channels"),
            "kernel_sizes": given.get("kernel_size"),
            "stride": given.get("stride"),
            "n_fft": given.get("n_fft"),
            "hop_length": given.get("hop_size"),
            "win_length": given.get("win_size"),
            "blocks": inner.get("num_blocks"),
            "block_channels": inner.get("channels"),
            "block_bins": inner.get("freq"),
            "heads": inner.get("num_heads"),
        }
        # The window is as long as the frame.
        found = {**sizes, "win_length": sizes["n_fft"]}
        for key, value in configured.items():
            if value is not None and value != (list(found[key]) if key == "kernel_sizes" else found[key]):
                raise CheckpointError(f"{source}: {key} is {quote(value)}, but the file has {found[key]}")


def _official_names(graph: OnnxGraph) -> dict[str, Tensor]:
    """Return the weights by the names of the official module."""
    found = {
        name.removeprefix("model."): tensor
        for name, tensor in graph.tensors.items()
        if name.startswith("model.") and not name.startswith("model.stft.")
    }
    blocks = count(found, r"rf_block\.\d+\.rnn_fc\.bias")
    if not blocks:
        return graph.tensors
    matrices = [matrix.T.contiguous() for _, matrix in graph.uses("MatMul", axes=2)]
    names = ["down", *(f"rf_block.{n}.{name}" for n in range(blocks) for name in BLOCK_MATRICES), "up"]
    if len(matrices) != len(names):
        raise graph.refusal(
            f"this FastEnhancer has {len(matrices)} matrices, {len(names)} are expected for {blocks} blocks"
        )
    return {**found, **dict(zip(names, matrices, strict=True))}


def _stride(graph: OnnxGraph) -> int:
    for operation, _ in graph.uses("ConvTranspose"):
        return int(operation.attributes["strides"][0])
    raise CheckpointError("the graph has no transposed convolution: it is not FastEnhancer's")


def _sizes(weights: Mapping[str, Tensor], graph: OnnxGraph) -> dict[str, Any]:
    source = "this FastEnhancer"
    stride = _stride(graph)
    first = entry(weights, "enc_pre.0.weight", source=source)
    fewer, bins = entry(weights, "down", source=source).shape
    convolutions = count(weights, r"encoder\.\d+\.0\.weight")
    kernels = [weights[f"encoder.{n}.0.weight"].shape[2] for n in range(convolutions)]
    n_fft = 2 * bins * stride
    carried = graph.inputs.get("cache_in_0", ())
    if "wav_in" not in graph.inputs or len(carried) != 2:
        raise CheckpointError(SPECTRA)
    return {
        "n_fft": n_fft,
        "hop_length": n_fft - carried[1],
        "channels": first.shape[0],
        "kernel_sizes": (first.shape[2] * stride, *kernels),
        "stride": stride,
        "blocks": count(weights, r"rf_block\.\d+\.rnn_fc\.bias"),
        "block_channels": entry(weights, "rf_pre.1.weight", source=source).shape[0],
        "block_bins": fewer,
        "heads": _heads(graph, fewer),
        "batch_norm": False,
    }


def _heads(graph: OnnxGraph, bins: int) -> int:
    """Return the number of attention heads, from the shape into which a frame's (bins, 3 * features) are
    cut."""
    for _, shape in graph.uses("Reshape", axes=1):
        if shape.numel() == 4 and shape[1] == bins and shape[3] == -1:
            return int(shape[2])
    raise CheckpointError("the graph does not show its heads of attention: it is of another version")
