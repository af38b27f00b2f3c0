"""Mels equal those of the published programs, whole and streamed, and misfits are explained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from kit.parity import relative_error
from safetensors.torch import load_file
from torch import Tensor

from audiotool.dsp.mel import (
    PRESETS,
    MelConfig,
    check_definition,
    check_mel,
    differences,
    filterbank,
    mel_config,
    preset_names,
    value_range,
)
from audiotool.dsp.mel_spectrogram import MelSpectrogram
from audiotool.errors import CheckpointError, InputError

PACKS = Path(__file__).parents[1] / "data" / "parity"


def noise(length: int, batch: int = 2) -> Tensor:
    return 0.1 * torch.randn(batch, length, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("pack", "key", "definition"),
    [
        ("hifigan/v1_small", "mel", "hifigan-22k"),
        ("hifigan/v1_small", "mel_for_loss", "hifigan-22k-full"),
        ("bigvgan/base_v1_small", "mel", "bigvgan-22k-80"),
        ("bigvgan/v2_small", "mel", "bigvgan-v2-24k-100"),
        ("vocos/mel_istft_center", "features", "vocos-24k"),
        ("vocos/mel_imdct_cos", "features", {"preset": "vocos-24k", "padding": "same"}),
    ],
)
def test_parity(pack: str, key: str, definition: str | dict[str, str]) -> None:
    tensors = load_file(PACKS / pack / "io.safetensors")
    found = MelSpectrogram(definition)(tensors["wav"])
    assert relative_error(found, tensors[key]) <= 1e-4


def test_a_channel_axis_of_one_changes_nothing() -> None:
    analysis = MelSpectrogram("tacotron2")
    waveform = noise(3000)
    assert torch.equal(analysis(waveform[:, None]), analysis(waveform))


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("block", [1000, 313])
def test_streamed_equals_whole(name: str, block: int) -> None:
    analysis, waveform = MelSpectrogram(name), noise(9001)
    whole = analysis(waveform)
    state, parts = None, []
    for start in range(0, 9001, block):
        part, state = analysis.step(waveform[:, start : start + block], state, final=start + block >= 9001)
        parts.append(part)
    assert torch.cat(parts, dim=-1).shape == whole.shape
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("padding", ["center", "same", "causal", "none"])
def test_frames_and_lookahead_are_true(padding: str) -> None:
    analysis = MelSpectrogram({"preset": "tacotron2", "padding": padding, "log": "none"})
    config = analysis.config
    for length in (1, 255, 256, 700, 5000):
        assert analysis(noise(length)).shape[-1] == config.frames(length)
    assert config.frames(config.shortest) == 1
    assert config.shortest == 1 or config.frames(config.shortest - 1) == 0
    waveform = noise(8000).requires_grad_()
    frame = 12
    (grad,) = torch.autograd.grad(analysis(waveform)[..., frame].sum(), waveform)
    last = int(grad.abs().sum(0).nonzero()[-1])
    # A Hann window begins with a zero and is symmetric: its last tap is small but not zero.
    assert last == frame * config.hop_length + config.lookahead


def test_state_of_a_long_stream_stays_small() -> None:
    analysis, state = MelSpectrogram("hifigan-22k"), None
    for _ in range(20):
        _, state = analysis.step(noise(4096), state)
    assert state[0][0].shape[-1] < 2 * analysis.config.n_fft  # type: ignore[index]


def test_silence_gives_the_floor_and_no_gradient_trouble() -> None:
    waveform = torch.zeros(1, 2048, requires_grad=True)
    mel = MelSpectrogram("tacotron2")(waveform)
    mel.sum().backward()
    torch.testing.assert_close(mel, torch.full_like(mel, value_range(PRESETS["tacotron2"])[0]))
    assert waveform.grad is not None
    assert waveform.grad.isfinite().all()


@pytest.mark.parametrize("log", ["natural", "log10", "none"])
def test_values_stay_in_the_declared_range(log: str) -> None:
    config = mel_config({"preset": "hifigan-22k", "log": log})
    time = torch.arange(22050) / 22050
    loudest = torch.stack([torch.sin(2 * torch.pi * 1000 * time), torch.sign(torch.randn(22050))])
    mel = MelSpectrogram(config)(loudest)
    low, high = value_range(config)
    assert mel.min() >= low - 1e-4
    assert mel.max() <= high


def test_power_spectrum() -> None:
    base = {"preset": "tacotron2", "log": "none"}
    waveform = noise(4000)
    power = MelSpectrogram({**base, "power": 2.0})(waveform)
    analysis = MelSpectrogram(base)
    expected = analysis.filterbank.T @ analysis.stft(waveform, final=True)[0].abs().square()
    torch.testing.assert_close(power, expected)


def test_definitions_by_name_and_by_values() -> None:
    assert mel_config("vocos-24k") is PRESETS["vocos-24k"]
    assert mel_config(dataclasses.asdict(PRESETS["tacotron2"])) == PRESETS["tacotron2"]
    assert mel_config({"preset": "tacotron2", "fmax": 7600.0}).fmax == 7600.0
    assert mel_config(PRESETS["vocos-24k"]) is PRESETS["vocos-24k"]


def test_differences_name_what_differs() -> None:
    found = differences(PRESETS["vocos-24k"], PRESETS["hifigan-22k"])
    assert "n_mels 100 against 80" in found
    assert "scale htk against slaney" in found
    assert not differences(dataclasses.replace(PRESETS["tacotron2"], win_length=1024), PRESETS["tacotron2"])
    top = dataclasses.replace(PRESETS["vocos-24k"], fmax=12000.0)
    assert preset_names(top) == ["vocos-24k"]


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("hifigan", "no mel preset is called 'hifigan'; did you mean 'hifigan-22k'"),
        ({"preset": "tacotron2", "hop_size": 256}, "mel.hop_size: unknown key; did you mean 'hop_length'"),
        ({"sample_rate": 16000}, "mel.n_fft: is missing"),
        ({"preset": "tacotron2", "scale": "bark"}, "mel.scale: found 'bark', should be 'slaney' or 'htk'"),
        ({"preset": "tacotron2", "fmax": 20000.0}, "do not fit below 11025"),
        ({"preset": "tacotron2", "hop_length": 0}, "mel.hop_length: found 0, should be greater"),
        ({"preset": "tacotron2", "floor": 0.0}, "floor must be positive"),
    ],
)
def test_bad_definitions_are_refused(definition: str | dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        mel_config(definition)


def test_a_mel_of_another_definition_is_refused() -> None:
    check_definition(PRESETS["bigvgan-22k-80"], PRESETS["hifigan-22k"], "a.npy")
    with pytest.raises(InputError, match=r"a\.npy.*hop_length 300 against 256.*preset hifigan-22k"):
        check_definition(PRESETS["parallel-wavegan-24k"], PRESETS["hifigan-22k"], "a.npy")


@pytest.mark.parametrize(
    ("shape", "low", "high", "message"),
    [
        ((100, 50), -5.0, 1.0, r"n_mels 100 against 80 .* preset vocos-24k or .* would fit"),
        ((70, 50), -5.0, 1.0, "n_mels 70 against 80 of the checkpoint$"),
        ((50, 80), -5.0, 1.0, "looks transposed"),
        ((80,), -5.0, 1.0, r"\(n_mels, frames\), got shape"),
        ((80, 50), -100.0, 1.0, "values from -100.00 to 1.00 do not fit"),
        ((80, 50), 0.0, 40.0, "values from 0.00 to 40.00 do not fit"),
        ((80, 50), 0.0, 2.0, "without its logarithm: this checkpoint's is log natural with the floor 1e-05"),
        ((80, 50), float("nan"), float("nan"), "not finite"),
    ],
)
def test_arrays_that_cannot_be_this_mel(
    shape: tuple[int, ...], low: float, high: float, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_mel(shape, low, high, PRESETS["hifigan-22k"], "a.npy")


def test_arrays_that_fit_pass() -> None:
    check_mel((80, 50), -11.6, 2.0, PRESETS["hifigan-22k"], "a.npy")
    check_mel((1, 80, 0), 0.0, 0.0, PRESETS["hifigan-22k"], "a.npy")


@pytest.mark.parametrize("fmax", [None, 5000.0])
@pytest.mark.parametrize(("scale", "highest"), [("slaney", 5512.5), ("htk", 5512.0)])
def test_bins_of_an_odd_sample_rate(scale: str, highest: float, fmax: float | None) -> None:
    """librosa's highest bin is half the sample rate, torchaudio's ("htk") is rounded down."""
    low, high = 0.0, highest if fmax is None else fmax
    if scale == "htk":
        edges = 700 * (np.geomspace(1 + low / 700, 1 + high / 700, 82) - 1)
    else:
        mels = np.linspace(0.0, 15 + 27 * np.log(high / 1000) / np.log(6.4), 82)
        edges = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    bins = np.linspace(0, highest, 513)
    expected = [np.interp(bins, edges[n : n + 3], (0, 1, 0), 0, 0) for n in range(80)]
    values = {"sample_rate": 11025, "n_fft": 1024, "hop_length": 256, "n_mels": 80, "fmax": fmax}
    found = filterbank(mel_config({**values, "scale": scale, "norm": "none"}))
    np.testing.assert_allclose(found, np.transpose(expected), atol=2e-5)


def test_config_is_a_value() -> None:
    config = MelConfig(16000, 512, 128, 64)
    assert config == MelConfig(16000, 512, 128, 64)
    assert config.top == 8000.0
