"""Official AFiLM and TFiLM networks: Keras' `model.h5`, or the same tensors in `.safetensors`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from audiotool.errors import CheckpointError
from audiotool.importers.base import Importer, Options, entry, read_config
from audiotool.importers.keras_file import Group, layer_tensor, lstm_weights, numbered, read_keras

PUBLISHED_HEADS = 8
"""Number of attention heads, which the files do not hold."""

TensorPair = tuple[Tensor, Tensor]

ENCODER_NAMES = (
    "attention.in_proj_",
    "attention.out_proj.",
    "expand.",
    "compress.",
    "attention_norm.",
    "norm.",
)
"""Names of the parts of an encoder layer in audiotool, before "weight" and "bias"."""


SHAPES = (
    "model",
    "layers",
    "r",
    "n_filters",
    "n_filtersizes",
    "n_step",
    "ff_dim",
    "transformer_layers",
)
"""Options whose values follow from names and shapes of the tensors."""


class TFiLMImporter(Importer):
    """Sizes are read from the tensors, patch and block from the description of the model inside `model.h5`.

    A file that holds tensors alone has the published patch (8192) and block (128), unless a configuration
    gives others: {"input_length": 8192, "block0": 128, "num_heads": 8}.
    """

    name = "tfilm"
    origin = "github.com/ncarraz/AFILM"
    licence = "MIT"
    task = "super-resolve"
    signature: ClassVar[tuple[str, ...]] = ("conv1d", "t_fi_lm")
    options: ClassVar[tuple[Options, ...]] = (
        Options("config.json", taken=("input_length", "block0"), unused=SHAPES),
    )
    layer = "t_fi_lm"

    def read(self, path: Path) -> dict[str, Any]:
        """Return {"weights": tensors by Keras' names, "description": the model as JSON, or None}."""
        if path.suffix.lower() == ".safetensors":
            try:
                return {"weights": load_file(path), "description": None}
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{path} is not a safetensors file: {error}") from error
        return read_keras(path)

    def weights(self, official: Any) -> dict[str, Tensor]:
        convolutions, modulations = self._layers(official)
        places = _places(len(convolutions))
        result = {}
        for place, group in zip(places, convolutions, strict=True):
            conv = place if place == "output" else f"{place}.conv"
            result[f"{conv}.weight"] = layer_tensor(group, "kernel").permute(2, 1, 0)
            result[f"{conv}.bias"] = layer_tensor(group, "bias")
        for place, group in zip(places, modulations, strict=False):
            for key, tensor in self._modulation(group).items():
                result[f"{place}.modulation.{key}"] = tensor
        return {key: tensor.contiguous() for key, tensor in result.items()}

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        convolutions, modulations = self._layers(official)
        kernels = [layer_tensor(group, "kernel") for group in convolutions]
        depth = (len(kernels) - 2) // 2
        values = {
            "filters": tuple(k.shape[2] for k in kernels[:depth]),
            "kernel_sizes": tuple(k.shape[0] for k in kernels[:depth]),
            "bottleneck_filters": kernels[depth].shape[2],
            "bottleneck_kernel_size": kernels[depth].shape[0],
            "output_kernel_size": kernels[-1].shape[0],
            **self._modulation_values(modulations[0]),
        }
        if official["description"] is not None:
            values.update(self._described(official["description"]))
        if config is not None:
            given = read_config(config)
            self.options[0].check(given, str(config))
            values.update(self._configured(given))
        return values

    def _layers(self, official: Any) -> tuple[list[Group], list[Group]]:
        """Return the convolutions and the modulations, each in the order of the network."""
        tensors = entry(official, "weights")
        convolutions, modulations = numbered(tensors, "conv1d"), numbered(tensors, self.layer)
        if len(convolutions) < 4 or len(convolutions) % 2 or len(modulations) != len(convolutions) - 1:
            raise CheckpointError(
                f"this is no {self.name} network: it has {len(convolutions)} layers called 'conv1d' and"
                f" {len(modulations)} called '{self.layer}'."
            )
        return convolutions, modulations

    def _modulation(self, group: Group) -> dict[str, Tensor]:
        """Return the tensors of a modulation by their names in audiotool."""
        parts = {name: layer_tensor(group, name) for name in ("bias", "kernel", "recurrent_kernel")}
        return {f"lstm.{key}": value for key, value in lstm_weights(**parts).items()}

    def _modulation_values(self, group: Group) -> dict[str, Any]:
        return {}

    def _described(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """Return the lengths of patch and block from Keras' description of the model."""
        layers = description["config"]["layers"]
        inputs = next(layer["config"] for layer in layers if layer["class_name"] == "InputLayer")
        shape = inputs.get("batch_input_shape") or inputs.get("batch_shape")
        blocks = [layer["config"]["block_size"] for layer in layers if "block_size" in layer["config"]]
        return {"patch_length": shape[1], "first_block": blocks[0]}

    def _configured(self, values: Mapping[str, Any]) -> dict[str, Any]:
        names = {"input_length": "patch_length", "block0": "first_block"}
        return {key: values[official_key] for official_key, key in names.items() if official_key in values}


class AFiLMImporter(TFiLMImporter):
    """As TFiLM's; attention has the published eight heads, or `num_heads` of a configuration."""

    name = "afilm"
    signature: ClassVar[tuple[str, ...]] = ("conv1d", "a_fi_lm")
    options = (Options("config.json", taken=("input_length", "block0", "num_heads"), unused=SHAPES),)
    layer = "a_fi_lm"

    def _modulation(self, group: Group) -> dict[str, Tensor]:
        result = {}
        for n, layer in enumerate(numbered(group, "encoder_layer")):
            dense, norms = self._parts(layer)
            # Query, key, value; then the combination of the heads and the two of the feed-forward part.
            stacked = tuple(torch.cat(tensors) for tensors in zip(*dense[:3], strict=True))
            for name, pair in zip(ENCODER_NAMES, (stacked, *dense[3:], *norms), strict=True):
                result[f"layers.{n}.{name}weight"], result[f"layers.{n}.{name}bias"] = pair
        return result

    def _parts(self, layer: Group) -> tuple[list[TensorPair], list[TensorPair]]:
        """Return (weight, bias) of an encoder layer's six dense layers and two norms, in torch's layout."""
        dense = [(layer_tensor(g, "kernel").T, layer_tensor(g, "bias")) for g in numbered(layer, "dense")]
        norms = [
            (layer_tensor(g, "gamma"), layer_tensor(g, "beta"))
            for g in numbered(layer, "layer_normalization")
        ]
        if len(dense) != 6 or len(norms) != 2:
            raise CheckpointError(
                f"an encoder layer of this {self.name} has {len(dense)} dense layers and {len(norms)} norms:"
                " expected 6 and 2."
            )
        return dense, norms

    def _modulation_values(self, group: Group) -> dict[str, Any]:
        layers = numbered(group, "encoder_layer")
        if not layers:
            raise CheckpointError(f"a layer '{self.layer}' of this {self.name} holds no encoder layers.")
        inner = self._parts(layers[0])[0][4][0].shape[0]
        return {
            "heads": PUBLISHED_HEADS,
            "transformer_layers": len(layers),
            "transformer_inner_dim": inner,
        }

    def _configured(self, values: Mapping[str, Any]) -> dict[str, Any]:
        heads = {"heads": values["num_heads"]} if "num_heads" in values else {}
        return {**super()._configured(values), **heads}


def _places(convolutions: int) -> list[str]:
    """Return the names of the convolutions in audiotool, in the order of the network."""
    depth = (convolutions - 2) // 2
    downs, ups = ([f"{way}.{n}" for n in range(depth)] for way in ("downs", "ups"))
    return [*downs, "bottleneck", *ups, "output"]
