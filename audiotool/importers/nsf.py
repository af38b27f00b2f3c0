"""Official neural source-filter checkpoints: `trained_network.pt` (tensors), `epoch_001.pt` (training state).

The official configuration is a Python module, which is not run. Sizes are read from the tensors, and the rest
(sample rate, mel definition) from a JSON or YAML file with the module's own names, where one is given:

    {"project": "hn-sinc-nsf-9", "wav_samp_rate": 16000, "input_reso": [80, 80]}

The official mels come from another program, as files: a Blackman window and a filterbank of its own, which no
preset of audiotool.dsp.mel computes. An imported checkpoint vocodes such files with their F0; copy synthesis,
which analyses a waveform with our definition, feeds it features that it was not trained on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiotool.errors import CheckpointError
from audiotool.importers.base import (
    Importer,
    Options,
    count,
    entry,
    read_config,
    renamed,
    state_dict,
)
from audiotool.models.layers.harmonic_noise_mix import HIGH_UNVOICED, HIGH_VOICED, LOW_UNVOICED, LOW_VOICED
from audiotool.models.nsf import FILTER_SCALE, MEL
from audiotool.value_types import quote

RENAMED = (
    (r"^m_cond(?:ition)?\.l_blstm\.l_blstm\.(\w+)_l0_reverse$", r"condition.blstm.back.\1_l0"),
    (r"^m_cond(?:ition)?\.l_blstm\.l_blstm\.(\w+)_l0$", r"condition.blstm.ahead.\1_l0"),
    (r"^m_cond(?:ition)?\.l_conv1d\.", "condition.convs.0."),
    (r"^m_cond(?:ition)?\.l_conv1ds\.", "condition.convs."),
    (r"^m_source\.l_linear\.", "source.mix."),
    (r"^m_filter\.l_har_blocks\.", "harmonic_blocks."),
    (r"^m_filter\.l_noi_blocks\.0\.", "noise_block."),
    (r"\.l_ff_1\.", ".expand."),
    (r"\.l_convs\.", ".convs."),
    (r"\.l_ff_2\.", ".compress."),
    (r"\.l_ff_3\.", ".output."),
)
"""(pattern of official names, replacement), applied in order."""

SHOWN = {
    "hidden_dim": "hidden_dim",
    "cnn_kernel_s": "kernel_size",
    "filter_block_num": "filter_blocks",
    "cnn_num_in_block": "convs_per_block",
}
"""Official sizes that the tensors have -> fields of `NSFConfig`."""

CHOSEN = {"sine_amp": "sine_amplitude", "noise_std": "noise_std", "sinc_order": "sinc_order"}
"""Official values that no tensor has -> fields of `NSFConfig`."""

FIXED_FILTERS = {
    "l_fir_lp_v": LOW_VOICED,
    "l_fir_lp_u": LOW_UNVOICED,
    "l_fir_hp_v": HIGH_VOICED,
    "l_fir_hp_u": HIGH_UNVOICED,
}


class NSFImporter(Importer):
    """hn-sinc-nsf-9, hn-sinc-nsf-10 and hn-nsf; names of tensors tell them apart."""

    name = "nsf"
    origin = "github.com/nii-yamagishilab/project-NN-Pytorch-scripts"
    licence = "BSD-3-Clause"
    task = "vocode"
    signature = ("m_source.l_linear.weight", "m_filter.l_har_blocks.0.l_ff_1.weight")
    options = (
        Options(
            "config.json",
            taken=("project", "wav_samp_rate", "input_dims", "input_reso", "model"),
            unused=("output_dims", "output_reso"),
            closed=False,
        ),
        Options("model", taken=(*SHOWN, *CHOSEN, "harmonic_num", "upsamp_rate")),
    )

    def weights(self, official: Any) -> dict[str, Tensor]:
        # Epoch files hold training states too, the final network's file tensors alone.
        tensors = state_dict(official, "state_dict")
        return renamed({k: t for k, t in tensors.items() if not _is_constant(k, t)}, RENAMED)

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        tensors = state_dict(official, "state_dict")
        inputs = entry(tensors, "input_mean", source="the NSF checkpoint").numel()
        first = entry(tensors, "m_filter.l_har_blocks.0.l_convs.0.weight", source="the NSF checkpoint")
        values: dict[str, Any] = {
            "variant": _variant(tensors),
            "hidden_dim": first.shape[0],
            "kernel_size": first.shape[2],
            "filter_blocks": count(tensors, r"m_filter\.l_har_blocks\.\d+\.l_ff_1\.weight"),
            "convs_per_block": count(tensors, r"m_filter\.l_har_blocks\.0\.l_convs\.\d+\.weight"),
            "harmonics": entry(tensors, "m_source.l_linear.weight", source="the NSF checkpoint").shape[1],
        }
        values["mel"] = {**MEL, "n_mels": inputs - 1}
        for key, tensor in tensors.items():
            if key.endswith("l_upsamp.l_ave1.weight"):
                values["mel"]["hop_length"] = tensor.shape[-1]
            elif key.endswith("l_blstm.weight_hh_l0"):
                values["blstm_dim"] = 2 * tensor.shape[1]
        if config is not None:
            values.update(_from_file(config, values))
        return values


def _from_file(config: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that the tensors do not have, from the user's description of the official
    configuration.

    Raises:
        CheckpointError: the file contradicts the tensors.
    """
    given = read_config(config)
    variant = given.get("project", values["variant"])
    if variant != values["variant"]:
        raise CheckpointError(
            f"{config} is for {variant}, but the tensors are those of {values['variant']}:"
            " give the configuration that belongs to the checkpoint."
        )
    network = given.get("model", {})
    _, options = NSFImporter.options
    options.check(network, str(config))
    hop, bands = values["mel"].get("hop_length"), values["mel"]["n_mels"]
    configured = {
        **{official_key: (network.get(official_key), values[key]) for official_key, key in SHOWN.items()},
        "harmonic_num": (network.get("harmonic_num"), values["harmonics"] - 1),
        "upsamp_rate": (network.get("upsamp_rate"), hop),
        "input_dims": (given.get("input_dims"), [bands, 1]),
        "input_reso": (given.get("input_reso"), [hop, hop]),
    }
    for key, (value, found) in configured.items():
        if None not in (value, found) and value != found:
            raise CheckpointError(f"{config}: {key} is {quote(value)}, but the tensors have {found}")
    chosen = {
        key: network[official_key]
        for official_key, key in CHOSEN.items()
        if network.get(official_key) is not None
    }
    if "wav_samp_rate" in given:
        chosen["mel"] = {**values["mel"], "sample_rate": given["wav_samp_rate"]}
    return chosen


def _variant(tensors: Mapping[str, Tensor]) -> str:
    if any(key.startswith("m_condition.") for key in tensors):
        return "hn-nsf"
    return "hn-sinc-nsf-10" if "m_cond.l_conv1ds.0.weight" in tensors else "hn-sinc-nsf-9"


def _is_constant(key: str, tensor: Tensor) -> bool:
    """Return whether a tensor is a constant of the published network, and check its values.

    Raises:
        CheckpointError: the file has other constants, so that this model would give another output.
    """
    expected: Tensor | None = None
    if re.search(r"\.(l_ave1|l_ave2|l_cut_f_smooth)\.weight$", key):
        expected = torch.full_like(tensor, 1 / tensor.shape[-1])
    elif key.endswith(".scale"):
        expected = torch.full_like(tensor, FILTER_SCALE)
    else:
        for name, taps in FIXED_FILTERS.items():
            if f".{name}." in key:
                expected = torch.tensor(taps).flip(0).reshape(1, 1, -1)
    if expected is None:
        return key in ("output_mean", "output_std")  # written, but never applied by the published network
    if expected.shape != tensor.shape or not torch.allclose(tensor, expected, atol=1e-6):
        raise CheckpointError(f"{key} differs from the published constant: this NSF cannot be imported.")
    return True
