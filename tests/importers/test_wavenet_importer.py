"""WaveNet files of r9y9/wavenet_vocoder, and their configuration as that project publishes it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiotool.errors import CheckpointError
from audiotool.importers.base import import_checkpoint, recognise
from audiotool.importers.torch_file import read_torch
from audiotool.models.wavenet import WaveNet

HPARAMS: dict[str, Any] = {
    "name": "wavenet_vocoder",
    "input_type": "raw",
    "quantize_channels": 65536,
    "preprocess": "preemphasis",
    "postprocess": "inv_preemphasis",
    "global_gain_scale": 0.55,
    "sample_rate": 22050,
    "silence_threshold": 2,
    "num_mels": 80,
    "fmin": 125,
    "fmax": 7600,
    "fft_size": 1024,
    "hop_size": 256,
    "frame_shift_ms": None,
    "win_length": 1024,
    "win_length_ms": -1.0,
    "window": "hann",
    "highpass_cutoff": 70.0,
    "output_distribution": "Logistic",
    "log_scale_min": -16.0,
    "out_channels": 30,
    "layers": 24,
    "stacks": 4,
    "residual_channels": 128,
    "gate_channels": 256,
    "skip_out_channels": 128,
    "dropout": 0.0,
    "kernel_size": 3,
    "cin_channels": 80,
    "cin_pad": 2,
    "upsample_conditional_features": True,
    "upsample_net": "ConvInUpsampleNetwork",
    "upsample_params": {"upsample_scales": [4, 4, 4, 4]},
    "gin_channels": -1,
    "n_speakers": 7,
    "pin_memory": True,
    "num_workers": 2,
    "batch_size": 8,
    "optimizer": "Adam",
    "optimizer_params": {"lr": 0.001, "eps": 1e-08, "weight_decay": 0.0},
    "lr_schedule": "step_learning_rate_decay",
    "lr_schedule_kwargs": {"anneal_rate": 0.5, "anneal_interval": 200000},
    "max_train_steps": 1000000,
    "nepochs": 2000,
    "clip_thresh": -1,
    "max_time_sec": None,
    "max_time_steps": 10240,
    "exponential_moving_average": True,
    "ema_decay": 0.9999,
    "checkpoint_interval": 100000,
    "train_eval_interval": 100000,
    "test_eval_epoch_interval": 50,
    "save_optimizer_state": True,
}
"""Keys and values of egs/mol/conf/mol_wavenet.json."""

SIZES = ("layers", "stacks", "residual_channels", "gate_channels", "skip_out_channels", "kernel_size")

MEL = {
    "sample_rate": 22050,
    "n_fft": 1024,
    "hop_length": 256,
    "win_length": 1024,
    "n_mels": 80,
    "fmin": 125.0,
    "fmax": 7600.0,
    "log": "log10",
    "floor": 1e-10,
}


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, WaveNet]:
    """A file as r9y9's program writes it, and the network it holds."""
    torch.manual_seed(0)
    sizes = {key: HPARAMS[key] for key in SIZES}
    values = {"mel": MEL, "components": 10, "cin_pad": 2, "upsample_scales": [4, 4, 4, 4], "dropout": 0.0}
    model = WaveNet.from_config({**sizes, **values})
    pair = {"original0": "weight_g", "original1": "weight_v"}
    tensors = {}
    for key, value in model.state_dict().items():
        *path, last = (
            key.replace(".parametrizations.weight", "").replace("conv1x1_aux", "conv1x1c").split(".")
        )
        if path:
            tensors[".".join((*path, pair.get(last, last)))] = value
    saved = tmp_path_factory.mktemp("wavenet") / "checkpoint_step000000001_ema.pth"
    torch.save({"state_dict": tensors, "optimizer": None, "global_step": 1}, saved)
    return saved, model.eval()  # type: ignore[return-value]


def imported(file: Path, folder: Path, **changes: Any) -> WaveNet:
    """Import the file with some values of the official configuration changed."""
    config = folder / "hparams.json"
    config.write_text(json.dumps({**HPARAMS, **changes}))
    model, _ = import_checkpoint(file, "wavenet", config)
    assert isinstance(model, WaveNet)
    return model


def test_official_configuration(official: tuple[Path, WaveNet], tmp_path: Path) -> None:
    file, source = official
    np.save(tmp_path / "stats.npy", np.stack((np.zeros(80), np.full(80, 2.0))))
    model = imported(file, tmp_path)
    assert model.config.preemphasis == 0.85
    assert model.config.gain == 0.55
    assert model.config.log_scale_min == -16.0
    assert model.mel == source.mel
    x = torch.randn(1, 80, 3)
    waveform = torch.rand(1, 1, 768) - 0.5
    with torch.no_grad():
        expected = source(waveform, source.condition(x))
        assert torch.allclose(model(waveform, model.condition(2 * x)), expected, atol=1e-5)
    assert recognise(read_torch(file)) == ["wavenet"]


@pytest.mark.parametrize("preprocess", [None, "preemphasis"])
@pytest.mark.parametrize(
    ("postprocess", "coefficient"), [("", 0.0), ("none", 0.0), (None, 0.0), ("inv_preemphasis", 0.85)]
)
def test_synthesis_follows_postprocess(
    official: tuple[Path, WaveNet],
    tmp_path: Path,
    preprocess: str | None,
    postprocess: str | None,
    coefficient: float,
) -> None:
    model = imported(official[0], tmp_path, preprocess=preprocess, postprocess=postprocess)
    assert model.config.preemphasis == coefficient


@pytest.mark.parametrize("scale", [1.0, 0, -1.0])
def test_a_gain_that_scales_nothing(official: tuple[Path, WaveNet], tmp_path: Path, scale: float) -> None:
    assert imported(official[0], tmp_path, global_gain_scale=scale).config.gain == 1.0


def test_a_gain_that_is_no_number(official: tuple[Path, WaveNet], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="gain: found None, should be"):
        imported(official[0], tmp_path, global_gain_scale=None)


def test_lengths_in_milliseconds(official: tuple[Path, WaveNet], tmp_path: Path) -> None:
    changes = {"hop_size": None, "frame_shift_ms": 11.63, "win_length": -1, "win_length_ms": 46.4}
    model = imported(official[0], tmp_path, **changes)
    # 256.4 and 1023.1 samples
    assert (model.mel.hop_length, model.mel.win_length) == (256, 1023)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hop_size": None}, "frame_shift_ms: found None, should be a length in ms"),
        ({"win_length": -1}, r"win_length_ms: found -1\.0, should be a length in ms"),
        ({"hop_size": "256"}, "hop_size: found '256', should be a valid integer"),
        (
            {"hop_size": None, "frame_shift_ms": math.inf},
            "frame_shift_ms: found inf, should be a length in ms",
        ),
        ({"sample_rate": 22050.5}, r"sample_rate: found 22050\.5, should be a valid integer"),
    ],
)
def test_refused_lengths(
    official: tuple[Path, WaveNet], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=rf"hparams\.json: {message}"):
        imported(official[0], tmp_path, **changes)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("input_type", "mulaw-quantize"), ("output_distribution", "Normal"), ("gin_channels", 16)),
        *(("window", "hamming"), ("postprocess", "inv_mulaw")),
    ],
)
def test_other_networks_are_refused(
    official: tuple[Path, WaveNet], tmp_path: Path, key: str, value: Any
) -> None:
    with pytest.raises(CheckpointError, match=f"{key}={value!r} is not supported"):
        imported(official[0], tmp_path, **{key: value})
