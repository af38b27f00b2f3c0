"""`audiotool vocode` with every vocoder: those of official files, and WaveNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from kit.vocoders import WAVENET, run_well, save_vocoder
from torch import Tensor

import audiotool
from audiotool import checkpoint
from audiotool.dsp.mel import value_range
from audiotool.importers.base import import_checkpoint
from audiotool.models.vocoder import Vocoder

PACKS = Path(__file__).parents[1] / "data" / "parity"
IMPORTED = [
    ("hifigan", "v1_small", "g_00000001", "config.json"),
    ("hifigan", "v3_small", "g_00000001", "config.json"),
    ("bigvgan", "base_v1_small", "bigvgan_generator.pt", "config.json"),
    ("bigvgan", "v2_small", "bigvgan_generator.pt", "config.json"),
    ("vocos", "mel_istft_center", "pytorch_model.bin", "config.yaml"),
    ("vocos", "mel_imdct_cos", "pytorch_model.bin", "config.yaml"),
    ("vocos", "mel_imdct_symexp", "pytorch_model.bin", "config.yaml"),
    ("vocos", "mel_resnet", "pytorch_model.bin", "config.yaml"),
    ("vocos", "encodec_adanorm_same", "pytorch_model.bin", "config.yaml"),
    ("parallel-wavegan", "v1_small", "checkpoint-400000steps.pkl", "config.yml"),
    ("parallel-wavegan", "v3_causal_melgan_disc", "checkpoint-400000steps.pkl", "config.yml"),
    ("waveglow", "small", "waveglow_1_state_dict.pt", "config.json"),
    ("waveflow", "h8_r16", "waveflow_5000", "config.json"),
    ("waveflow", "h8_r16_bipartize", "waveflow_5000", "config.json"),
    ("waveflow", "parakeet_h8", "step-1.pdparams", "config.json"),
    ("nsf", "hn_nsf_small", "trained_network.pt", None),
    ("nsf", "hn_sinc_nsf_9_small", "trained_network.pt", None),
    ("nsf", "hn_sinc_nsf_10_small", "trained_network.pt", None),
    ("periodwave", "base_small", "G_10000.pth", "config.json"),
    ("periodwave", "encodec_small", "G_10000.pth", "config.json"),
    ("periodwave", "large_small", "G_10000.pth", "config.json"),
]

FRAMES = 16


def features_for(model: Vocoder) -> Tensor:
    """(1, input_channels, FRAMES) within the mel's range; F0 last where it is wanted."""
    generator = torch.Generator().manual_seed(0)
    mel = model.mel
    if mel is None:
        return torch.randn(1, model.input_channels, FRAMES, generator=generator)
    low, high = value_range(mel)
    features = torch.rand(1, model.input_channels, FRAMES, generator=generator)
    features = low + (high - low) * (0.3 + 0.4 * features)
    if model.input_channels == mel.n_mels + 1:
        features[:, -1] = 140.0
        features[:, -1, 9:14] = 0.0
    return features


@pytest.mark.parametrize(
    ("name", "pack", "file", "config"), IMPORTED, ids=[f"{n}-{p}" for n, p, *_ in IMPORTED]
)
def test_every_imported_vocoder(
    name: str, pack: str, file: str, config: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = PACKS / name.replace("-", "_") / pack
    model, metadata = import_checkpoint(folder / file, name, config and folder / config)
    assert isinstance(model, Vocoder)
    checkpoint.save("model.safetensors", model.state_dict(), metadata)
    check_streams(model)


def test_wavenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = save_vocoder(Path("model.safetensors"), "wavenet", WAVENET)
    assert isinstance(model, Vocoder)
    check_streams(model)


def check_streams(model: Vocoder) -> None:
    """The command speaks like the model on all frames at once, however short the model's steps are."""
    features = features_for(model)
    with torch.inference_mode():
        expected = model.process(features)[0, 0].numpy()
    peak = np.abs(expected).max()
    assert peak > 0
    np.save("mel.npy", features.numpy())
    chunk = 7 * model.upsampling / model.sample_rate
    whole = 2 * FRAMES * model.upsampling / model.sample_rate
    # A model without bounded context is cross-faded, which only a single segment does without.
    exact = model.causal or model.context is not None
    for seconds in (whole, chunk) if exact else (whole,):
        run_well(
            *("mel.npy", "-o", "out.wav", "--overwrite", "--checkpoint", "model.safetensors"),
            *("--subtype", "FLOAT", "--chunk", str(seconds)),
        )
        waveform, rate = audiotool.read("out.wav")
        assert rate == model.sample_rate
        assert waveform.shape == (1, len(expected))
        assert np.abs(waveform[0] - expected).max() <= 2e-5 * peak
