"""Official Vocos checkpoints: `pytorch_model.bin` or a Lightning `.ckpt`, and their `config.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from audiotool.dsp.mel import mel_config
from audiotool.errors import CheckpointError
from audiotool.importers.base import Importer, entry, read_config, require
from audiotool.importers.hifigan import named
from audiotool.models.layers.weight_norm import fold_weights

HEADS = {"ISTFTHead": "istft", "IMDCTCosHead": "imdct-cos", "IMDCTSymExpHead": "imdct-symexp"}
BACKBONES = ("VocosBackbone", "VocosResNetBackbone")
ENCODEC_RATES = {"encodec_24khz": (24000, 320), "encodec_48khz": (48000, 320)}
"""Sample rate and hop of the codecs, by the name the configuration has."""


class VocosImporter(Importer):
    """The decoder is read: feature extractors, discriminators and losses in the file are left out."""

    name = "vocos"
    origin = "github.com/gemelo-ai/vocos"
    licence = "MIT"
    signature = ("backbone.embed.", "head.out.weight")

    def weights(self, official: Any) -> dict[str, Tensor]:
        tensors = official.get("state_dict", official) if isinstance(official, Mapping) else {}
        decoder = {k: v for k, v in tensors.items() if k.startswith(("backbone.", "head.out."))}
        return fold_weights(decoder)

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        path = require(config, "config.yaml")
        values, source = read_config(path), str(path)
        if "model" in values:  # the training configuration holds the same parts one level down
            values = entry(values, "model", "init_args", source=source)
        backbone = entry(values, "backbone", "init_args", source=source)
        head = entry(values, "head", "init_args", source=source)
        resnet = _class(values, "backbone", BACKBONES, source) == "VocosResNetBackbone"
        kind = HEADS[_class(values, "head", tuple(HEADS), source)]
        result = {
            **_features(values, backbone, source),
            "backbone": "resnet" if resnet else "convnext",
            "dim": entry(backbone, "dim", source=source),
            "num_layers": entry(backbone, "num_blocks" if resnet else "num_layers", source=source),
            "head": kind,
            "padding": head.get("padding", "same"),
            "weight_norm": False,
        }
        if not resnet:
            result["intermediate_dim"] = entry(backbone, "intermediate_dim", source=source)
            result["conditions"] = backbone.get("adanorm_num_embeddings") or 0
        if kind == "istft":
            result["n_fft"] = entry(head, "n_fft", source=source)
        return result


def _class(values: Any, part: str, known: tuple[str, ...], source: str) -> str:
    """Last piece of a part's class path.

    Raises:
        CheckpointError: it is none of those known.
    """
    name = str(entry(values, part, "class_path", source=source)).rpartition(".")[2]
    if name not in known:
        raise CheckpointError(f"{source}: {part} is a {name}; audiotool reads {', '.join(known)}")
    return name


def _features(values: Any, backbone: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The input: a mel definition, or a codec's sizes."""
    known = ("MelSpectrogramFeatures", "EncodecFeatures")
    arguments = entry(values, "feature_extractor", "init_args", source=source)
    if _class(values, "feature_extractor", known, source) == "EncodecFeatures":
        codec = arguments.get("encodec_model", "encodec_24khz")
        if codec not in ENCODEC_RATES:
            raise CheckpointError(f"{source}: no codec is called '{codec}': {', '.join(ENCODEC_RATES)}")
        sample_rate, hop_length = ENCODEC_RATES[codec]
        channels = entry(backbone, "input_channels", source=source)
        return {"mel": None, "input_channels": channels, "sample_rate": sample_rate, "hop_length": hop_length}
    keys = ("sample_rate", "n_fft", "hop_length", "n_mels", "padding")
    given = {key: arguments[key] for key in keys if key in arguments}
    return {"mel": named(mel_config({"preset": "vocos-24k", **given}))}
