"""`Pipeline.vocode` and mel files from Python: arrays of every form, F0, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kit.vocoders import NSF, make_mel, save_vocoder, spoken

import audiotool
from audiotool.audio.target import Target
from audiotool.errors import CheckpointError, InputError
from audiotool.files.features import MelAnalysis
from audiotool.models.base import Model


@pytest.mark.parametrize("form", ["plain", "batch", "transposed", "float64", "torch", "half"])
def test_arrays(vocos: Model, form: str) -> None:
    mel = make_mel()
    forms: dict[str, Any] = {
        "plain": mel,
        "batch": mel[None],
        "transposed": mel.T,
        "float64": mel.astype(np.float64),
        "torch": torch.from_numpy(mel)[None].requires_grad_(),
        "half": torch.from_numpy(mel).half(),
    }
    given = forms[form]
    waveform = audiotool.load("vocos.safetensors", chunk_seconds=0.1).vocode(given)
    assert (type(waveform), waveform.dtype) == (type(given), given.dtype)
    expected = spoken(vocos, mel)
    tolerance = 1e-2 if form == "half" else 1e-5
    np.testing.assert_allclose(np.asarray(waveform), expected, atol=tolerance * np.abs(expected).max())


def test_arrays_with_f0(vocos: Model) -> None:
    model = save_vocoder(Path("nsf.safetensors"), "nsf", NSF)
    pipeline, mel = audiotool.load("nsf.safetensors"), make_mel(NSF["mel"], 0.2)
    f0 = np.full(mel.shape[1], 150.0, np.float32)
    features = np.concatenate((mel, f0[None]))
    for waveform in (pipeline.vocode(mel, f0), pipeline.vocode(features)):
        np.testing.assert_allclose(waveform, spoken(model, features), atol=1e-5)
    with pytest.raises(InputError, match="and no F0"):
        pipeline.vocode(mel)
    with pytest.raises(InputError, match="f0 holds F0 for 3 frames"):
        pipeline.vocode(mel, f0[:3])
    with pytest.raises(InputError, match="F0 is floating point, got int64"):
        pipeline.vocode(mel, f0.astype(int))
    with pytest.raises(InputError, match="takes no F0"):
        audiotool.load("vocos.safetensors").vocode(make_mel(), f0)


def test_a_mel_of_another_bundled_model_names_it(vocos: Model) -> None:
    samples = (0.1 * np.random.default_rng(0).standard_normal(11025)).astype(np.float32)
    audiotool.write("in.wav", samples, 22050)
    MelAnalysis("hifigan-22k").process_file("in.wav", "mel.safetensors")
    MelAnalysis("hifigan-22k").process_file("in.wav", "mel.npy")
    default = audiotool.load("harmonic-vocoder-24k")
    with pytest.raises(
        InputError, match=r"fmax 8000\.0 against 12000\.0; use the model harmonic-vocoder-22k$"
    ):
        default.process_file("mel.safetensors", "out.wav")
    for vocode in (
        lambda: default.process_file("mel.npy", "out.wav"),
        lambda: default.vocode(np.load("mel.npy")),
    ):
        with pytest.raises(
            InputError, match=r"n_mels 80 against 100 of the checkpoint; use the model harmonic-vocoder-22k$"
        ):
            vocode()
    assert audiotool.load("harmonic-vocoder-22k").process_file("mel.safetensors", "out.wav").seconds > 0.4


def test_a_mel_file_from_python(vocos: Model, tiny_checkpoint: Path) -> None:
    mel = make_mel()
    np.save("mel.npy", mel)
    audiotool.load("vocos.safetensors").process_file("mel.npy", Target(("out.wav",), subtype="FLOAT"))
    with pytest.raises(InputError, match="a mel gives one output, got the paths of 2"):
        audiotool.load("vocos.safetensors").process_file("mel.npy", Target(("a.wav", "b.wav")))
    audiotool.write("in.wav", np.zeros(4800, np.float32), 24000)
    with pytest.raises(InputError, match=r"in\.wav is a recording, in which F0 is tracked"):
        audiotool.load("vocos.safetensors").process_file("in.wav", "out.wav", f0="f0.npy")
    assert not Path("a.wav").exists()
    np.testing.assert_allclose(audiotool.read("out.wav")[0][0], spoken(vocos, mel), atol=1e-5)
    denoiser = audiotool.load(tiny_checkpoint)
    with pytest.raises(CheckpointError, match="takes a waveform, not a mel"):
        denoiser.process_file("mel.npy", "no.wav")
    with pytest.raises(CheckpointError, match="takes a waveform, not a mel"):
        denoiser.vocode(mel)
    assert not Path("no.wav").exists()


def test_a_waveform_does_not_replace_its_mel_or_f0(vocos: Model) -> None:
    pipeline = audiotool.load("vocos.safetensors")
    for name in ("mel.npy", "f0.npy"):
        np.save(name, make_mel())
        Path("link.wav").unlink(missing_ok=True)
        Path("link.wav").symlink_to(name)
        for output in (name, "link.wav"):
            with pytest.raises(InputError, match=f"an output would replace its own input: {output}"):
                pipeline.process_file("mel.npy", output, f0="f0.npy")
        np.testing.assert_array_equal(np.load(name), make_mel())
    with pytest.raises(InputError, match="a path is a str or a Path, got ndarray"):
        pipeline.process_file("mel.npy", "out.wav", f0=np.zeros(3))  # type: ignore[arg-type]


def test_arrays_that_do_not_fit(vocos: Model) -> None:
    pipeline, mel = audiotool.load("vocos.safetensors"), make_mel()
    for given, message in (
        (
            np.full((100, 9), -3.0, np.float32),
            "the mel: n_mels 100 against 6 of the checkpoint; use the model harmonic-vocoder-24k",
        ),
        (mel + 40, "the mel: values from .* do not fit this checkpoint's mel"),
        (mel[0], r"a mel is \(n_mels, frames\)"),
        (mel[:, :0], "the mel holds no frames"),
        (np.where(np.arange(mel.shape[1]) == 3, np.nan, mel), "holds nan in band 0 of frame 3"),
        (np.ones_like(mel, int), "a mel is floating point, got int64"),
    ):
        with pytest.raises(InputError, match=message):
            pipeline.vocode(given)


def test_a_mel_is_no_waveform_of_many_channels(vocos: Model) -> None:
    pipeline, mel = audiotool.load("vocos.safetensors"), make_mel()
    with pytest.raises(InputError, match="6 rows are as many as this vocoder's mel has bands"):
        pipeline(mel, 8000)
    with pytest.raises(InputError, match=r"Pipeline\.vocode takes mels"):
        next(pipeline.stream([mel], 8000))
    assert pipeline(mel[:5], 8000).shape == (5, mel.shape[1])
