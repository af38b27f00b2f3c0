"""Official Parallel WaveGAN files: `checkpoint-XXXsteps.pkl`, `config.yml`, `stats.h5` or `stats.npy`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiotool.checkpoint import Metadata, sha256
from audiotool.errors import CheckpointError, DependencyError
from audiotool.extras import install
from audiotool.importers.base import Importer, Options, entries, entry, read_config, require, state_dict
from audiotool.importers.hdf5 import read_array
from audiotool.importers.mel import official_mel
from audiotool.models.base import Model
from audiotool.models.layers.weight_norm import fold_weights
from audiotool.value_types import quote

log = logging.getLogger(__name__)

STATISTICS = ("stats.npy", "stats.h5")
"""Names of the file with the mean and scale of the training set's mels, published beside the weights."""

MEL = {
    "sampling_rate": "sample_rate",
    "fft_size": "n_fft",
    "hop_size": "hop_length",
    "num_mels": "n_mels",
    "fmin": "fmin",
    "fmax": "fmax",
}
"""Official keys of the mel -> those of `MelConfig`."""

NETWORK = (
    "kernel_size",
    "layers",
    "stacks",
    "residual_channels",
    "gate_channels",
    "skip_channels",
    "aux_context_window",
    "dropout",
    "bias",
    "use_causal_conv",
)
"""Official keys of the generator that keep their names."""

UPSAMPLING = Options(
    "upsample_params",
    taken=(
        *("upsample_scales", "freq_axis_kernel_size", "nonlinear_activation", "nonlinear_activation_params"),
        *("upsample_activation", "upsample_activation_params"),
    ),
    fixed={"interpolate_mode": ("nearest",), "mode": ("nearest",)},
    # The official programs set these from the options beside the section.
    unused=("use_causal_conv", "aux_channels", "aux_context_window", "cin_channels", "cin_pad"),
)
"""Options of kan-bayashi's and r9y9's upsampling network."""

LOGARITHMS = {10.0: "log10", None: "natural"}
"""Official base -> `MelConfig.log`."""


def mel_definition(
    values: Mapping[str, Any], source: str, names: Mapping[str, str] = MEL
) -> str | dict[str, Any]:
    """Return the log10 mel of kan-bayashi's and r9y9's configurations, as `official_mel`.

    Args:
        names: official keys of the mel, without "win_length", which may be absent -> those of `MelConfig`.
    """
    base, win_length = values.get("log_base", 10.0), values.get("win_length")
    if base not in LOGARITHMS:
        raise CheckpointError(f"{source}: log_base {quote(base)} is not supported, only 10.0 or null")
    fields = {**entries(values, names, source), "win_length": win_length}
    fields["fmin"] = 0.0 if fields["fmin"] is None else fields["fmin"]
    fields |= {"log": LOGARITHMS[base], "floor": 1e-10}
    return official_mel(fields, {**names, "win_length": "win_length"}, source)


def upsampling_values(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the configuration of the upsampling network that kan-bayashi's and r9y9's models share.

    Raises:
        CheckpointError: the network has no convolution before it.
    """
    kind = values.get("upsample_net", "ConvInUpsampleNetwork")
    if kind != "ConvInUpsampleNetwork":
        raise CheckpointError(f"{source}: upsample_net {kind} is not supported, only ConvInUpsampleNetwork")
    parameters = values.get("upsample_params", {})
    UPSAMPLING.check(parameters, source)
    result: dict[str, Any] = {"freq_axis_kernel_size": parameters.get("freq_axis_kernel_size", 1)}
    if "upsample_scales" in parameters:
        result["upsample_scales"] = tuple(parameters["upsample_scales"])
    for official_key in ("nonlinear_activation", "upsample_activation"):
        if parameters.get(official_key) not in (None, "none"):
            result["upsample_activation"] = parameters[official_key]
            result["upsample_activation_params"] = parameters.get(f"{official_key}_params") or {}
    return result


def find_statistics(folders: Iterable[Path]) -> Path | None:
    """Return the path of the first file of `STATISTICS` in the folders; None without one."""
    places = (folder / name for folder in folders for name in STATISTICS)
    return next((place for place in places if place.is_file()), None)


def read_statistics(path: Path) -> dict[str, Tensor]:
    """Return "mean" and "scale" of the training set's mels, a value a band each, from one of `STATISTICS`.

    Raises:
        DependencyError: the file is .h5 and h5py is not installed.
        CheckpointError: the file is damaged, a mean is not finite, or a scale is not above 0.
    """
    try:
        mean, scale = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _read_hdf5(path)
        found = {"mean": _vector(mean), "scale": _vector(scale)}
    except DependencyError:
        raise
    except Exception as error:  # a damaged file can fail in numpy and HDF5 in any way
        raise CheckpointError(f"{path} does not hold a mean and a scale: {error}") from error
    if not found["mean"].isfinite().all() or not (found["scale"].isfinite() & found["scale"].gt(0)).all():
        raise CheckpointError(f"{path}: a mean is not finite, or a scale not above 0")
    return found


def _read_hdf5(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        import h5py
    except ImportError as error:
        raise DependencyError(
            f"{path} needs h5py: install it with `{install('keras')}`, or save the two rows as stats.npy"
        ) from error
    with h5py.File(path, "r") as file:
        return read_array(file, "mean"), read_array(file, "scale")


def _vector(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32).reshape(-1).copy())


class StatisticsImporter(Importer):
    """Base of importers that read the mels' mean and scale from a file beside the weights or the
    configuration; without one the network takes mels that are normalised already."""

    def __init__(self) -> None:
        self.statistics: dict[str, Tensor] = {}

    def load(
        self, path: Path, config: Path | None, overrides: Mapping[str, Any] | None = None
    ) -> tuple[Model, Metadata]:
        folders = dict.fromkeys(file.parent for file in (path, config) if file is not None)
        found = find_statistics(folders)
        self.statistics = {} if found is None else read_statistics(found)
        model, metadata = super().load(path, config, overrides)
        if found is None:
            log.warning(
                "no %s in %s: this network will take mels that are normalised already, with the mean and"
                " scale of its training set; put that file beside the weights, and import them again",
                " or ".join(STATISTICS),
                " or ".join(map(str, folders)),
            )
            metadata.notes += " Without statistics: it takes mels that are normalised already."
        else:
            metadata.notes += f" Mean and scale of the mels are from {found.name} (SHA-256 {sha256(found)})."
        return model, metadata

    def with_statistics(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of a network, and "mean" and "scale"."""
        bands = entry(tensors, "upsample_net.conv_in.weight").shape[0]
        return {**tensors, "mean": torch.zeros(bands), "scale": torch.ones(bands), **self.statistics}


class ParallelWaveGANImporter(StatisticsImporter):
    """Imports the folded generator and the statistics of its mels."""

    name = "parallel-wavegan"
    origin = "github.com/kan-bayashi/ParallelWaveGAN"
    licence = "MIT"
    task = "vocode"
    signature = ("first_conv.", "upsample_net.conv_in", "conv1x1_aux")
    options = (
        Options(
            "generator_params",
            taken=(*NETWORK, "aux_channels", "upsample_net", "upsample_params"),
            fixed={"in_channels": (1,), "out_channels": (1,), "upsample_conditional_features": (True,)},
            unused=("use_weight_norm",),
        ),
        UPSAMPLING,
        Options(
            "config.yml",
            taken=(*MEL, "win_length", "log_base", "generator_params"),
            fixed={
                "generator_type": ("ParallelWaveGANGenerator",),
                "window": ("hann",),
                "global_gain_scale": (1.0, 0.0),
            },
            unused=("format", "trim_silence", "discriminator_params"),
            closed=False,
        ),
    )

    def weights(self, official: Any) -> dict[str, Tensor]:
        return self.with_statistics(fold_weights(state_dict(official, "model", "generator")))

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        path = require(config, "config.yml")
        values = read_config(path)
        network, _, whole = self.options
        whole.check(values, str(path))
        generator = entry(values, "generator_params", source=str(path))
        network.check(generator, str(path))
        if generator.get("aux_channels", 80) != entry(values, "num_mels", source=str(path)):
            raise CheckpointError(
                f"{path}: aux_channels {generator.get('aux_channels', 80)} is not num_mels"
                f" {values['num_mels']}: only generators conditioned on the mel alone are supported"
            )
        return {
            **{key: generator[key] for key in NETWORK if key in generator},
            **upsampling_values(generator, str(path)),
            "mel": mel_definition(values, str(path)),
            "weight_norm": False,
        }
