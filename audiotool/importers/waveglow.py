"""Official WaveGlow files: a state dict, or the whole pickled module as NVIDIA released it.

The sizes of the network are read from the tensors, the mel from the configuration. Without one it is Tacotron
2's, which all released files use. Separate conditioning layers of early files are merged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiotool.dsp.mel import mel_config
from audiotool.errors import CheckpointError
from audiotool.importers.base import Importer, Options, count, entry, read_config, unwrapped
from audiotool.importers.legacy_modules import is_legacy, read_legacy_module
from audiotool.importers.mel import official_mel
from audiotool.importers.torch_file import read_torch
from audiotool.models.layers.weight_norm import fold_weights
from audiotool.value_types import quote

STAND_INS = (
    "glow.WaveGlow",
    "glow.WN",
    "glow.Invertible1x1Conv",
    "glow_old.WaveGlow",
    "glow_old.WN",
    "glow_old.Invertible1x1Conv",
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.conv.Conv1d",
    "torch.nn.modules.conv.ConvTranspose1d",
    "torch.nn.utils.weight_norm.WeightNorm",
    "torch.nn.backends.thnn._get_thnn_function_backend",
)
"""Classes in the released pickles; each is read as an empty class with attributes."""

MEL = {
    "sampling_rate": "sample_rate",
    "filter_length": "n_fft",
    "hop_length": "hop_length",
    "win_length": "win_length",
    "mel_fmin": "fmin",
    "mel_fmax": "fmax",
}
"""Official keys of the mel -> those of `MelConfig`."""

OFFICIAL_UPSAMPLING = (1024, 256)
"""Kernel and stride of the official upsampling layer, the same in every configuration."""

DATA_CONFIG = Options(
    "data_config",
    taken=tuple(MEL),
    # 32768 is full scale of 16 bits.
    fixed={"max_wav_value": (32768.0,)},
    unused=("training_files", "test_files", "segment_length"),
)
"""Options that NVIDIA's WaveGlow and L0SG's WaveFlow share."""


def mel_definition(config: Path | None, bands: int) -> str | dict[str, Any]:
    """Return Tacotron 2's mel, overridden by the configuration's `data_config`."""
    fields: dict[str, Any] = {"n_mels": bands}
    source = "the checkpoint" if config is None else str(config)
    if config is not None:
        data = entry(read_config(config), "data_config", source=source)
        DATA_CONFIG.check(data, source)
        fields |= {key: data[official_key] for official_key, key in MEL.items() if official_key in data}
    return official_mel({"preset": "tacotron2", **fields}, MEL, source)


def module_tensors(module: Any) -> dict[str, Tensor]:
    """Return the state dict of a pickled module that was read as plain objects.

    Raises:
        CheckpointError: the object is no module, or holds a module twice.
    """
    return _module_tensors(module, "", set())


def _module_tensors(module: Any, prefix: str, visited: set[int]) -> dict[str, Tensor]:
    attributes = vars(module) if hasattr(module, "__dict__") else {}
    if "_parameters" not in attributes or "_modules" not in attributes:
        raise CheckpointError("the checkpoint's 'model' is neither a state dict nor a pickled module")
    if id(module) in visited:
        raise CheckpointError(f"the checkpoint's 'model' holds one module twice, the second time as {prefix}")
    visited.add(id(module))
    found = {**attributes["_parameters"], **attributes.get("_buffers", {})}
    tensors = {prefix + key: value.detach() for key, value in found.items() if isinstance(value, Tensor)}
    for key, part in attributes["_modules"].items():
        tensors.update(_module_tensors(part, f"{prefix}{key}.", visited))
    return tensors


def merge_layers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join the separate residual, skip and conditioning layers of early files."""
    merged = {}
    parts: dict[str, list[tuple[int, Tensor]]] = {}
    for key, value in tensors.items():
        match = re.fullmatch(r"(WN\.\d+\.)(res|skip|cond)_layers\.(\d+)(?:\.conv)?\.(weight|bias)", key)
        if match is None:
            merged[key] = value
            continue
        flow, kind, layer, field = match[1], match[2], int(match[3]), match[4]
        if kind == "cond":
            parts.setdefault(f"{flow}cond_layer.{field}", []).append((layer, value))
        else:
            # The residual half comes before the skip half.
            place = 0 if kind == "res" else 1
            parts.setdefault(f"{flow}res_skip_layers.{layer}.{field}", []).append((place, value))
    for key, pieces in parts.items():
        merged[key] = torch.cat([value for _, value in sorted(pieces, key=lambda piece: piece[0])])
    return merged


class WaveGlowImporter(Importer):
    """Imports files with and without weight norm, and with separate layers."""

    name = "waveglow"
    origin = "github.com/NVIDIA/waveglow"
    licence = "BSD-3-Clause"
    task = "vocode"
    signature = ("WN.0.", "convinv.0.conv.weight")
    options = (
        Options(
            "waveglow_config",
            taken=(*("n_mel_channels", "n_flows", "n_group", "n_early_every", "n_early_size", "WN_config"),),
        ),
        Options("WN_config", taken=("n_layers", "n_channels", "kernel_size")),
        DATA_CONFIG,
    )

    def read(self, path: Path) -> Any:
        """Return the tensors of a state dict or of a pickled module."""
        read = read_legacy_module if is_legacy(path) else read_torch
        official = read(path, STAND_INS)
        inner = official
        if isinstance(official, Mapping):
            inner = next((official[key] for key in ("model", "state_dict") if key in official), official)
        return dict(inner) if isinstance(inner, Mapping) else module_tensors(inner)

    def weights(self, official: Any) -> dict[str, Tensor]:
        return merge_layers(fold_weights(unwrapped(official)))

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        tensors = self.weights(official)
        upsample = entry(tensors, "upsample.weight")
        flows = count(tensors, r"convinv\.\d+\.conv\.weight")
        channels = [entry(tensors, f"convinv.{k}.conv.weight").shape[0] for k in range(flows)]
        changes = [k for k in range(1, flows) if channels[k] != channels[k - 1]]
        first_layer = entry(tensors, "WN.0.in_layers.0.weight")
        flow = {
            "n_flows": flows,
            "n_group": channels[0],
            "n_early_every": changes[0] if changes else flows,
            "n_early_size": channels[changes[0] - 1] - channels[changes[0]] if changes else 2,
        }
        network = {
            "n_layers": count(tensors, r"WN\.0\.in_layers\.\d+\.weight"),
            "n_channels": first_layer.shape[1],
            "kernel_size": first_layer.shape[2],
        }
        if config is not None:
            self._compare(config, {**flow, "n_mel_channels": upsample.shape[0]}, network, bool(changes))
        mel = mel_definition(config, upsample.shape[0])
        if (
            upsample.shape[2] == OFFICIAL_UPSAMPLING[0]
            and mel_config(mel).hop_length != OFFICIAL_UPSAMPLING[1]
        ):
            raise CheckpointError(
                f"{config}: hop_length {mel_config(mel).hop_length} is not supported: the official network"
                f" gives {OFFICIAL_UPSAMPLING[1]} samples a frame whatever the configuration says"
            )
        return {
            **flow,
            **network,
            "upsample_kernel": upsample.shape[2],
            "mel": mel,
            "weight_norm": False,
        }

    def _compare(
        self, config: Path, flow: Mapping[str, int], network: Mapping[str, int], leaves_early: bool
    ) -> None:
        """Refuse a configuration with other sizes than the tensors have."""
        given = read_config(config).get("waveglow_config", {})
        flow_options, network_options, _ = self.options
        flow_options.check(given, str(config))
        inner = given.get("WN_config", {})
        network_options.check(inner, str(config))
        if not leaves_early:
            # Without early outputs their number and period have no influence.
            flow = {k: v for k, v in flow.items() if not k.startswith("n_early")}
        for configured, found in ((given, flow), (inner, network)):
            for key, value in found.items():
                if configured.get(key, value) != value:
                    raise CheckpointError(
                        f"{config}: {key} is {quote(configured[key])}, but the tensors have {value}"
                    )
