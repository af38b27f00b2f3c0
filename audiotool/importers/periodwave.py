"""Official PeriodWave checkpoints: `G_<step>.pth` and their `config.json`; Turbo's files are alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from audiotool.errors import CheckpointError
from audiotool.importers.base import Importer, Options, entry, read_config, renamed, require, state_dict
from audiotool.importers.hifigan import mel_definition
from audiotool.models.layers.weight_norm import fold_weights

RENAMED = (
    (r"^estimator\.MelCond\.convnext_block\.", "condition.blocks."),
    (r"^estimator\.MelCond\.cond_block\.", "condition.periods."),
    (r"^estimator\.MelCond\.cond\.", "condition.refine."),
    (r"^estimator\.MelCond\.", "condition."),
    (r"^estimator\.period_emb\.weight$", "period_embedding"),
    (r"^estimator\.mlp\.", "time_mlp."),
    (r"^estimator\.mpg\.mpg\.mids\.0\.", "unet.middle."),
    (r"^estimator\.mpg\.mpg\.", "unet."),
    (r"^estimator\.proj_layer\.", "final."),
    (r"\.dwconv\.", ".depthwise."),
    (r"\.pwconv1\.", ".expand."),
    (r"\.pwconv2\.", ".compress."),
    (r"\.grn\.", "."),
    (r"\.ResBlocks\.", ".blocks."),
    (r"\.block(\d)\.", r".conv\1."),
    (r"^(unet\.(?:downs\.\d|middle))\.down\.", r"\1.conv."),
    (r"^(unet\.ups\.\d)\.up\.", r"\1.conv."),
    (r"\.mlp\.1\.", ".time."),
    (r"^final\.final_layer\.", "final.conv."),
)
"""(pattern of official names, replacement), applied in order."""

MEL = {
    "sampling_rate": "sample_rate",
    "filter_length": "n_fft",
    "hop_length": "hop_length",
    "win_length": "win_length",
    "n_mel_channels": "n_mels",
    "mel_fmin": "fmin",
    "mel_fmax": "fmax",
}
"""Official keys of the mel -> those of `MelConfig`."""

ENERGY = {24000: (0.031622782, 9.124346), 22050: (0.06902337, 5.42367)}
"""Sample rate -> smallest and largest frame energy of the published training set (LibriTTS, LJ Speech)."""

DILATIONS = {3: (1, 2, 4), 4: (1, 2, 1, 4)}
"""Number of residual blocks (base and large network) -> their dilations."""


class PeriodWaveImporter(Importer):
    """The energy statistics that config.json names (.npy files) are read where its paths say or beside it;
    without them those of the published training set at that sample rate are taken."""

    name = "periodwave"
    origin = "github.com/sh-lee-prml/PeriodWave"
    licence = "MIT"
    task = "vocode"
    signature: ClassVar[tuple[str, ...]] = ("estimator.MelCond.", "estimator.mpg.mpg.", "estimator.period_")
    options = (
        Options(
            "data",
            taken=(*MEL, "energy_min", "energy_max"),
            fixed={"max_wav_value": (32768.0,)},
            unused=("train_filelist_path", "test_filelist_path"),
            closed=False,
        ),
        # The width of the last layer is read from its weights.
        Options("model", taken=("periods", "noise_scale", "hidden_dim"), unused=("final_dim",), closed=False),
    )

    def weights(self, official: Any) -> dict[str, Tensor]:
        tensors = {}
        for key, tensor in renamed(fold_weights(state_dict(official, "model")), RENAMED).items():
            # Convolutions over (frames, 1) are ours over frames; GRN's parameters have two axes of one.
            if tensor.dim() == 4:
                tensor = tensor.squeeze(-1)
            elif key.endswith((".gamma", ".beta")):
                tensor = tensor.flatten()
            tensors[key] = tensor
        return tensors

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        path = require(config, "config.json")
        values = read_config(path)
        data, network = (entry(values, key, source=str(path)) for key in ("data", "model"))
        for options, section in zip(self.options, (data, network), strict=True):
            options.check(section, str(path))
        tensors = state_dict(official, "model")
        embedding = entry(tensors, "estimator.period_emb.weight", source="the PeriodWave checkpoint")
        blocks = sum(key.endswith(".block1.bias") and ".mids.0." in key for key in tensors)
        if blocks not in DILATIONS:
            raise CheckpointError(f"this PeriodWave has {blocks} middle residual blocks: expected 3 or 4.")
        result = {
            "mel": mel_definition(data, str(path), MEL),
            "periods": entry(network, "periods", source=str(path)),
            "noise_scale": entry(network, "noise_scale", source=str(path)),
            "hidden_dim": entry(network, "hidden_dim", source=str(path)),
            "embedding_dim": embedding.shape[1],
            "dilations": DILATIONS[blocks],
            "weight_norm": False,
        }
        if "energy_min" not in data:
            return {**result, "features": "encodec"}
        low, high = _energy(data, path)
        return {**result, "energy_min": low, "energy_max": high}


class PeriodWaveTurboImporter(PeriodWaveImporter):
    name = "periodwave-turbo"
    # The tensors are PeriodWave's: a file is not recognised as Turbo's by its names.
    signature: ClassVar[tuple[str, ...]] = ()


def _energy(data: Mapping[str, Any], config: Path) -> tuple[float, float]:
    """Return the range of the training set's energy from the files that the configuration names, else the
    published one.

    Raises:
        CheckpointError: one of the two files is there alone, one holds no number, or there is neither a
            file nor a published range.
    """
    stated = [Path(str(data[key])) for key in ("energy_min", "energy_max")]
    low, high = (_number_beside(config, path) for path in stated)
    if low is not None and high is not None:
        return low, high
    rate = data["sampling_rate"]
    if low is None and high is None and rate in ENERGY:
        return ENERGY[rate]
    missing = " and ".join(str(path) for path, n in zip(stated, (low, high), strict=True) if n is None)
    unpublished = "" if rate in ENERGY else f" (there are no published statistics for {rate} Hz)"
    raise CheckpointError(f"{config} names {missing}: put both files beside the configuration{unpublished}")


def _number_beside(config: Path, stated: Path) -> float | None:
    """Return the number in a file that a configuration names, in the folder that it gives or in its own; None
    where there is no such file."""
    places = (config.parent / stated, config.parent / stated.name)
    return next((_number(place) for place in places if place.is_file()), None)


def _number(path: Path) -> float:
    try:
        return float(np.load(path, allow_pickle=False))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} does not hold one number in NumPy's format: {error}") from error
