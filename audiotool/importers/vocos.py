"""Official Vocos checkpoints: `pytorch_model.bin` or a Lightning `.ckpt`, and their `config.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiotool.dsp.mel import mel_config
from audiotool.dsp.mel_spectrogram import filterbank_tensor
from audiotool.errors import CheckpointError
from audiotool.importers.base import Importer, Options, entry, read_config, require, state_dict
from audiotool.importers.mel import official_mel
from audiotool.models.layers.weight_norm import fold_weights

HEADS = {"ISTFTHead": "istft", "IMDCTCosHead": "imdct-cos", "IMDCTSymExpHead": "imdct-symexp"}
ENCODEC_RATES = {"encodec_24khz": 24000, "encodec_48khz": 48000}
"""Name of a codec in the configuration -> its sample rate in Hz."""

MEL = {"f_min": "fmin", "f_max": "fmax", "mel_scale": "scale"}
"""Official keys of the mel -> those of `MelConfig`, where they differ."""

# The official code clips the coefficients instead of the audio.
CLIP = {"clip_audio": (False, None)}
SCALE = ("layer_scale_init_value",)

PARTS = {
    "feature_extractor": {
        "MelSpectrogramFeatures": Options(
            "feature_extractor: MelSpectrogramFeatures",
            taken=("sample_rate", "n_fft", "hop_length", "n_mels", "padding", *MEL, "norm"),
        ),
        "EncodecFeatures": Options(
            "feature_extractor: EncodecFeatures",
            taken=("encodec_model",),
            unused=("bandwidths", "train_codebooks"),
        ),
    },
    "backbone": {
        "VocosBackbone": Options(
            "backbone: VocosBackbone",
            taken=("input_channels", "dim", "intermediate_dim", "num_layers", "adanorm_num_embeddings"),
            unused=SCALE,
        ),
        "VocosResNetBackbone": Options(
            "backbone: VocosResNetBackbone", taken=("input_channels", "dim", "num_blocks"), unused=SCALE
        ),
    },
    "head": {
        "ISTFTHead": Options("head: ISTFTHead", taken=("dim", "n_fft", "hop_length", "padding")),
        "IMDCTCosHead": Options("head: IMDCTCosHead", taken=("dim", "mdct_frame_len", "padding"), fixed=CLIP),
        "IMDCTSymExpHead": Options(
            "head: IMDCTSymExpHead",
            taken=("dim", "mdct_frame_len", "padding"),
            fixed=CLIP,
            unused=("sample_rate",),
        ),
    },
}
"""Part of the official network -> {supported class: its options}."""


class VocosImporter(Importer):
    """Imports the decoder; feature extractors, discriminators and losses in the file are left out.

    A decoder for EnCodec is for the first of its bandwidths unless `bandwidth_id` chooses another."""

    name = "vocos"
    origin = "github.com/gemelo-ai/vocos"
    licence = "MIT"
    task = "vocode"
    signature = ("backbone.embed.", "head.out.weight")
    options = tuple(options for classes in PARTS.values() for options in classes.values())

    def weights(self, official: Any) -> dict[str, Tensor]:
        tensors = state_dict(official, "state_dict")
        decoder = {k: v for k, v in tensors.items() if k.startswith(("backbone.", "head.out."))}
        return fold_weights(decoder)

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        path = require(config, "config.yaml")
        values, source = read_config(path), str(path)
        if "model" in values:  # the training configuration holds the same parts one level down
            values = entry(values, "model", "init_args", source=source)
        arguments = {
            part: entry(values, part, "init_args", source=source)
            for part in ("feature_extractor", "backbone", "head")
        }
        kinds = {part: _class(values, part, tuple(classes), source) for part, classes in PARTS.items()}
        for part, kind in kinds.items():
            PARTS[part][kind].check(arguments[part], source)
        backbone, head = arguments["backbone"], arguments["head"]
        resnet = kinds["backbone"] == "VocosResNetBackbone"
        result = {
            **_features(kinds["feature_extractor"], arguments, _hop(kinds["head"], head, source), source),
            "backbone": "resnet" if resnet else "convnext",
            "dim": entry(backbone, "dim", source=source),
            "num_layers": entry(backbone, "num_blocks" if resnet else "num_layers", source=source),
            "head": HEADS[kinds["head"]],
            "padding": head.get("padding", "same"),
            "weight_norm": False,
        }
        if not resnet:
            result["intermediate_dim"] = entry(backbone, "intermediate_dim", source=source)
            result["conditions"] = backbone.get("adanorm_num_embeddings") or 0
        if kinds["head"] == "ISTFTHead":
            result["n_fft"] = entry(head, "n_fft", source=source)
        _compare(result, head, official, source)
        return result


def _class(values: Any, part: str, known: tuple[str, ...], source: str) -> str:
    """Return the name of a part's class without its module.

    Raises:
        CheckpointError: the class is not supported.
    """
    name = str(entry(values, part, "class_path", source=source)).rpartition(".")[2]
    if name not in known:
        raise CheckpointError(f"{source}: {part} is a {name}; audiotool reads {', '.join(known)}")
    return name


def _hop(kind: str, head: Mapping[str, Any], source: str) -> int:
    """Return the number of samples that the head gives for a frame."""
    if kind == "ISTFTHead":
        return int(entry(head, "hop_length", source=source))
    return int(entry(head, "mdct_frame_len", source=source)) // 2


def _features(kind: str, arguments: Mapping[str, Any], hop: int, source: str) -> dict[str, Any]:
    """Return the values of the input: a mel definition, or a codec's sizes.

    Raises:
        CheckpointError: the codec is unknown, or the head's hop is not the mel's.
    """
    given, channels = arguments["feature_extractor"], arguments["backbone"].get("input_channels")
    if kind == "EncodecFeatures":
        codec = given.get("encodec_model", "encodec_24khz")
        if codec not in ENCODEC_RATES:
            raise CheckpointError(f"{source}: no codec is called '{codec}': {', '.join(ENCODEC_RATES)}")
        # A codec's frame becomes as many samples as the head gives.
        rate = ENCODEC_RATES[codec]
        return {"mel": None, "input_channels": channels, "sample_rate": rate, "hop_length": hop}
    names = {key: MEL.get(key, key) for key in given}
    fields = {names[key]: value for key, value in given.items()}
    definition = official_mel({"preset": "vocos-24k", **fields}, names, source)
    mel = mel_config(definition)
    for name, found, wanted in (
        ("hop_length", hop, mel.hop_length),
        ("input_channels", channels, mel.n_mels),
    ):
        if found != wanted:
            raise CheckpointError(
                f"{source}: the {'head' if name == 'hop_length' else 'backbone'} has {name} {found}, the mel"
                f" {wanted}: they must be the same"
            )
    return {"mel": definition}


def _compare(result: Mapping[str, Any], head: Mapping[str, Any], official: Any, source: str) -> None:
    """Check that the configuration has the frame and the mel of the file's constants.

    Raises:
        CheckpointError: names the tensor.
    """
    tensors = state_dict(official, "state_dict")
    frame = head.get("n_fft", head.get("mdct_frame_len"))
    for key in ("head.istft.window", "head.imdct.window"):
        if key in tensors and tensors[key].numel() != frame:
            raise CheckpointError(f"{source}: the head's frame is {frame}, {key} has {tensors[key].numel()}")
    if head.get("dim", result["dim"]) != result["dim"]:
        raise CheckpointError(f"{source}: the head has dim {head['dim']}, the backbone {result['dim']}")
    bands = tensors.get("feature_extractor.mel_spec.mel_scale.fb")
    if bands is None or result.get("mel") is None:
        return
    expected = filterbank_tensor(mel_config(result["mel"]))
    if bands.shape != expected.shape or not torch.allclose(bands.float(), expected, atol=1e-4):
        raise CheckpointError(
            f"{source}: the mel it defines is not that of the file, whose filters"
            " (feature_extractor.mel_spec.mel_scale.fb) are others"
        )
