"""`audiotool vocode` on mel files, recordings and everything that can be wrong with them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from kit.audio import speech_like, write_speech
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor
from typer.testing import CliRunner, Result

import audiotool
from audiotool import checkpoint
from audiotool.audio.target import Target
from audiotool.cli.app import app
from audiotool.dsp.mel import mel_config, value_range
from audiotool.dsp.mel_spectrogram import MelSpectrogram
from audiotool.errors import CheckpointError, InputError
from audiotool.importers.base import import_checkpoint
from audiotool.models.base import Model
from audiotool.models.registry import MODELS
from audiotool.models.vocoder import Vocoder

PACKS = Path(__file__).parents[1] / "data" / "parity"
MEL = {"sample_rate": 8000, "n_fft": 128, "hop_length": 32, "n_mels": 6, "padding": "same"}
VOCOS = {"padding": "same", "n_fft": 128, "dim": 16, "intermediate_dim": 24, "num_layers": 2, "causal": True}
NSF = {
    "mel": {"sample_rate": 16000, "n_fft": 64, "hop_length": 8, "n_mels": 6},
    "hidden_dim": 8,
    "blstm_dim": 8,
    "filter_blocks": 2,
    "convs_per_block": 4,
    "harmonics": 4,
    "backward_block": 5,
    "backward_lookahead": 7,
}
WAVENET = {
    "mel": {"sample_rate": 8000, "n_fft": 64, "hop_length": 8, "n_mels": 6},
    "layers": 4,
    "stacks": 2,
    "residual_channels": 8,
    "gate_channels": 12,
    "skip_out_channels": 10,
    "components": 3,
    "upsample_scales": [4, 2],
    "cin_pad": 1,
}


def save(path: Path, name: str, config: dict[str, Any]) -> Model:
    torch.manual_seed(0)
    model = MODELS.get(name).from_config(config).eval()
    metadata = checkpoint.Metadata("vocode", checkpoint.describe_model(model), model.sample_rate)
    checkpoint.save(path, model.state_dict(), metadata)
    return model


@pytest.fixture
def vocos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A tiny causal Vocos, in vocos.safetensors of an otherwise empty working folder."""
    monkeypatch.chdir(tmp_path)
    return save(tmp_path / "vocos.safetensors", "vocos", {**VOCOS, "mel": MEL})


@pytest.fixture
def vocode(vocos: Model) -> Callable[..., Result]:
    """Run the command with it in this process."""
    return lambda *arguments: run("--checkpoint", "vocos.safetensors", *arguments)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["vocode", *map(str, arguments)])


def run_well(*arguments: str | Path) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def one_line(result: Result) -> str:
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def make_mel(definition: Any = MEL, seconds: float = 0.5) -> np.ndarray:
    """The mel (n_mels, frames) of synthetic speech."""
    analysis = MelSpectrogram(definition)
    waveform = torch.from_numpy(speech_like(seconds, analysis.config.sample_rate))
    return analysis(waveform)[0].numpy()


def spoken(model: Model, features: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model.process(torch.from_numpy(features)[None])[0, 0].numpy()


@pytest.mark.parametrize("form", ["npy", "batch", "transposed", "half", "npz", "packed", "safetensors"])
def test_mel_files(vocode: Callable[..., Result], vocos: Model, form: str) -> None:
    mel = make_mel()
    name, tolerance = "mel.npy", 1e-5
    if form == "npz":
        name = "mel.npz"
        np.savez(name, mel=mel, other=np.zeros(3))
    elif form == "packed":
        name = "mel.npz"
        np.savez_compressed(name, whatever=mel)
    elif form == "safetensors":
        name = "mel.safetensors"
        save_file({"mel": mel}, name)
    else:
        np.save(
            name, {"batch": mel[None], "transposed": mel.T, "half": mel.astype(np.float16)}.get(form, mel)
        )
    tolerance = 0.05 if form == "half" else tolerance
    result = vocode(name, "-o", "out.wav", "--subtype", "FLOAT")
    assert result.exit_code == 0, result.output
    waveform, rate = audiotool.read("out.wav")
    expected = spoken(vocos, mel)
    assert rate == 8000
    assert waveform.shape == (1, mel.shape[1] * 32)
    assert np.abs(waveform[0] - expected).max() <= tolerance * np.abs(expected).max()


def test_a_mel_as_wide_as_long_is_not_turned(vocode: Callable[..., Result], vocos: Model) -> None:
    mel = make_mel()[:, 20:26]
    np.save("mel.npy", mel)
    assert vocode("mel.npy", "-o", "out.wav", "--subtype", "FLOAT").exit_code == 0
    np.testing.assert_allclose(audiotool.read("out.wav")[0][0], spoken(vocos, mel), atol=1e-5)


def test_folder_of_mels_and_recordings(vocode: Callable[..., Result]) -> None:
    Path("in/sub").mkdir(parents=True)
    np.save("in/a.npy", make_mel())
    save_file({"mel": make_mel()}, "in/sub/b.safetensors")
    write_speech(Path("in/c.flac"), 0.3, 16000)
    np.save("in/wrong.npy", np.zeros((5, 9), np.float32))
    result = vocode("in", "-o", "out", "--report", "r.json")
    assert result.exit_code == 1
    assert "1 of 4 files failed" in result.stderr
    found = sorted(p.relative_to("out").as_posix() for p in Path("out").rglob("*") if p.is_file())
    assert found == ["a.wav", "c.flac", "sub/b.wav"]
    assert soundfile.info("out/c.flac").samplerate == 16000
    assert len(json.loads(Path("r.json").read_text())["files"]) == 4


def test_copy_synthesis_keeps_rate_channels_and_length(vocode: Callable[..., Result]) -> None:
    write_speech(Path("in.wav"), 1.2, 16000, 2)
    result = vocode(
        "in.wav", "-o", "out.wav", "--reference", "in.wav", "--report", "r.json", "--chunk", "0.1"
    )
    assert result.exit_code == 0, result.output
    before, after = soundfile.info("in.wav"), soundfile.info("out.wav")
    assert (before.frames, before.channels, before.samplerate, before.subtype) == (
        *(after.frames, after.channels, after.samplerate, after.subtype),
    )
    [row] = json.loads(Path("r.json").read_text())["files"]
    assert row["mel_l1"] > 0
    x, rate = audiotool.read("in.wav")
    expected = audiotool.load("vocos.safetensors", "cpu")(x, rate)
    np.testing.assert_allclose(audiotool.read("out.wav")[0], expected, atol=1e-4)


def test_through_pipes(vocode: Callable[..., Result], vocos: Model) -> None:
    data = write_speech(Path("in.wav"), 0.4, 8000).read_bytes()
    words = ["vocode", "--checkpoint", "vocos.safetensors", "-", "-o", "piped.wav", "-q"]
    assert CliRunner().invoke(app, words, input=data).exit_code == 0
    assert vocode("in.wav", "-o", "out.wav", "-q").exit_code == 0
    # A pipe comes in other blocks than a file; sums of other lengths may round a sample the other way.
    piped, whole = (soundfile.read(name, dtype="int16")[0].astype(int) for name in ("piped.wav", "out.wav"))
    assert piped.shape == whole.shape
    assert np.abs(piped - whole).max() <= 1
    assert (piped != whole).mean() < 0.01
    np.save("mel.npy", make_mel())
    Path("from_mel.wav").write_bytes(vocode("mel.npy", "-o", "-", "-q").stdout_bytes)
    assert soundfile.info("from_mel.wav").frames == make_mel().shape[1] * 32


def test_nothing_of_the_upper_band_passes_by(vocode: Callable[..., Result]) -> None:
    rng = np.random.default_rng(0)
    audiotool.write("in.wav", rng.uniform(-0.3, 0.3, 48000).astype(np.float32), 48000, "FLOAT")
    assert vocode("in.wav", "-o", "out.wav").exit_code == 0
    spectrum = np.abs(np.fft.rfft(audiotool.read("out.wav")[0][0]))
    assert spectrum[4500:].max() < 1e-3 * spectrum[:3500].max()


def test_scores_of_a_mel_file(vocode: Callable[..., Result]) -> None:
    write_speech(Path("clean.wav"), 0.6, 8000)
    np.save("mel.npy", make_mel(seconds=0.6))
    result = vocode("mel.npy", "-o", "out.wav", "--reference", "clean.wav", "--report", "r.json")
    assert result.exit_code == 0, result.output
    [row] = json.loads(Path("r.json").read_text())["files"]
    assert row["mel_l1"] > 0
    assert "mel_l1_noisy" not in row


# Recordings to mels


@pytest.mark.parametrize("ending", ["npy", "npz", "safetensors"])
def test_mel_only(vocode: Callable[..., Result], ending: str) -> None:
    write_speech(Path("in.wav"), 0.7, 8000, subtype="FLOAT")
    name = f"mel.{ending}"
    assert vocode("--mel-only", "in.wav", "-o", name).exit_code == 0
    if ending == "npy":
        found = np.load(name)
    elif ending == "npz":
        found = np.load(name)["mel"]
    else:
        with safe_open(name, framework="np") as file:
            found = file.get_tensor("mel")
            assert mel_config(json.loads(file.metadata()["mel"])) == mel_config(MEL)
    expected = make_mel(seconds=0.7)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert vocode(name, "-o", "out.wav").exit_code == 0
    assert sorted(p for p in os.listdir() if p.startswith(".")) == []


def test_mel_only_with_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_speech(Path("in/a.wav"), 0.4, 22050)
    write_speech(Path("in/b.wav"), 0.4, 44100, 2)
    result = run_well(
        *("--mel-only", "in", "-o", "out", "--preset", "hifigan-22k", "--format", "safetensors")
    )
    assert "2 channels were averaged" in result.stderr
    for name in ("a", "b"):
        with safe_open(f"out/{name}.safetensors", framework="np") as file:
            assert file.get_tensor("mel").shape == (80, 8820 // 256)
    save(tmp_path / "vocos.safetensors", "vocos", {**VOCOS, "mel": MEL})
    wrong = run("out/a.safetensors", "-o", "x.wav", "--checkpoint", "vocos.safetensors")
    assert wrong.exit_code == 1
    assert "n_mels 80 against 6" in one_line(wrong)


# NSF: F0


def test_f0_of_mel_files(vocos: Model) -> None:
    model = save(Path("nsf.safetensors"), "nsf", NSF)
    mel = make_mel(NSF["mel"], 0.2)
    f0 = np.where(np.arange(mel.shape[1]) % 50 < 30, 150.0, 0.0).astype(np.float32)
    features = np.concatenate((mel, f0[None]))
    np.save("mel.npy", mel)
    np.save("f0.npy", f0)
    np.save("both.npy", features)
    arguments = ("--checkpoint", "nsf.safetensors", "--subtype", "FLOAT", "--chunk", "0.05")
    run_well("mel.npy", "-o", "a.wav", "--f0", "f0.npy", *arguments)
    run_well("both.npy", "-o", "b.wav", *arguments)
    expected = spoken(model, features)
    for name in ("a.wav", "b.wav"):
        np.testing.assert_allclose(audiotool.read(name)[0][0], expected, atol=1e-5)
    Path("mels").mkdir()
    Path("f0").mkdir()
    np.save("mels/x.npy", mel)
    np.save("f0/x.npy", f0)
    run_well("mels", "-o", "out", "--f0", "f0", *arguments)
    np.testing.assert_allclose(audiotool.read("out/x.wav")[0][0], expected, atol=1e-5)

    np.save("short.npy", f0[:-3])
    np.save("negative.npy", -f0)
    np.save("square.npy", np.zeros((2, 9), np.float32))
    for name, message in (
        ("short.npy", f"F0 for {len(f0) - 3} frames, the mel has {len(f0)}"),
        ("negative.npy", "negative"),
        ("square.npy", "F0 is (frames,)"),
    ):
        refused = run("mel.npy", "-o", "c.wav", "--f0", name, *arguments)
        assert refused.exit_code == 1
        assert message in one_line(refused)
    assert "give --f0 FILE.npy" in one_line(run("mel.npy", "-o", "c.wav", *arguments))
    write_speech(Path("in.wav"), 0.2)
    run_well("in.wav", "-o", "d.wav", *arguments)
    assert "--f0 belongs to mel files" in one_line(run("in.wav", "-o", "c.wav", "--f0", "f0.npy", *arguments))
    several = run("mel.npy", "in.wav", "-o", "outs", "--f0", "f0.npy", *arguments)
    assert (several.exit_code, "need a folder of F0" in one_line(several)) == (2, True)
    assert not Path("c.wav").exists()


# From Python


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
    model = save(Path("nsf.safetensors"), "nsf", NSF)
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


def test_a_mel_file_from_python(vocos: Model, tiny_checkpoint: Path) -> None:
    mel = make_mel()
    np.save("mel.npy", mel)
    audiotool.load("vocos.safetensors").process_file("mel.npy", Target(("out.wav",), subtype="FLOAT"))
    np.testing.assert_allclose(audiotool.read("out.wav")[0][0], spoken(vocos, mel), atol=1e-5)
    denoiser = audiotool.load(tiny_checkpoint)
    with pytest.raises(CheckpointError, match="takes a waveform, not a mel"):
        denoiser.process_file("mel.npy", "no.wav")
    with pytest.raises(CheckpointError, match="takes a waveform, not a mel"):
        denoiser.vocode(mel)
    assert not Path("no.wav").exists()


def test_arrays_that_do_not_fit(vocos: Model) -> None:
    pipeline, mel = audiotool.load("vocos.safetensors"), make_mel()
    for given, message in (
        (
            np.full((100, 9), -3.0, np.float32),
            "the mel: n_mels 100 against 6 of the checkpoint; a checkpoint",
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


# Everything that can be wrong


def bad_files() -> dict[str, tuple[np.ndarray, str]]:
    mel = make_mel()
    holed, endless = mel.copy(), mel.copy()
    holed[2, 7], endless[0, 0] = np.nan, np.inf
    return {
        "bands": (
            np.full((100, 9), -3.0, np.float32),
            "n_mels 100 against 6 of the checkpoint; a checkpoint",
        ),
        "range": (mel + 40, "do not fit this checkpoint's mel"),
        "nan": (holed, "nan in band 2 of frame 7"),
        "infinity": (endless, "inf in band 0 of frame 0"),
        "axes": (np.zeros((2, 6, 9), np.float32), "(1, n_mels, frames), got (2, 6, 9)"),
        "line": (np.zeros(6, np.float32), "got (6,)"),
        "integers": (np.zeros((6, 9), np.int16), "int16, not floating point"),
        "empty": (np.zeros((6, 0), np.float32), "holds no frames"),
    }


@pytest.mark.parametrize("case", bad_files())
def test_mels_that_do_not_fit(vocode: Callable[..., Result], case: str) -> None:
    values, message = bad_files()[case]
    np.save("mel.npy", values)
    result = vocode("mel.npy", "-o", "out.wav")
    assert result.exit_code == 1
    assert message in one_line(result)
    assert sorted(os.listdir()) == ["mel.npy", "vocos.safetensors"]


@pytest.mark.parametrize("ending", ["npy", "npz", "safetensors"])
def test_damaged_files(vocode: Callable[..., Result], ending: str) -> None:
    for content in (b"", b"Dear friend, ..."):
        Path(f"mel.{ending}").write_bytes(content)
        result = vocode(f"mel.{ending}", "-o", "out.wav")
        assert result.exit_code == 1
        assert f"mel.{ending} cannot be read as a mel" in one_line(result)


def test_other_contents(vocode: Callable[..., Result]) -> None:
    np.savez("two.npz", a=make_mel(), b=make_mel())
    assert "holds 2 arrays (a, b)" in one_line(vocode("two.npz", "-o", "out.wav"))
    save_file({"mel": np.zeros((6, 9), np.int32)}, "integers.safetensors")
    assert "I32, not floating point" in one_line(vocode("integers.safetensors", "-o", "out.wav"))
    save_file({"mel": make_mel()}, "odd.safetensors", metadata={"mel": '{"bands": 3}'})
    assert "do not define a mel" in one_line(vocode("odd.safetensors", "-o", "out.wav"))
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "cannot be read as a mel" in one_line(vocode("objects.npy", "-o", "out.wav"))


def test_a_differing_definition_names_the_preset_that_fits(vocos: Model) -> None:
    save(Path("preset.safetensors"), "vocos", {**VOCOS, "mel": "vocos-24k", "n_fft": 1024})
    write_speech(Path("in.wav"), 0.3)
    run_well("--mel-only", "in.wav", "-o", "mel.safetensors", "--preset", "parallel-wavegan-24k")
    result = run("mel.safetensors", "-o", "out.wav", "--checkpoint", "preset.safetensors")
    message = one_line(result)
    for part in ("n_mels 80 against 100", "hop_length 300 against 256", "preset vocos-24k would fit"):
        assert part in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty", "-o", "out"], "no audio or mel files in empty"),
        (["mel.npy", "-o", "out.npy"], "'.npy' names no audio format"),
        (["mel.npy", "-o", "out.wav", "--preset", "tacotron2"], "--preset belongs to --mel-only"),
        (["mel.npy", "-o", "out.wav", "--f0", "no.npy"], "no such F0: no.npy"),
        (["--mel-only", "in.wav", "-o", "out.wav"], "a mel is written to .npy"),
        (["--mel-only", "in.wav", "-o", "-"], "standard output takes WAV"),
        (["--mel-only", "in.wav", "-o", "m.npy", "--f0", "mel.npy"], "--mel-only and --f0"),
        (["--mel-only", "in.wav", "-o", "m.npy", "--subtype", "FLOAT"], "--mel-only and --subtype"),
        (["--mel-only", "in.wav", "-o", "m/", "--format", "flac"], "one of npy, npz, safetensors"),
        (["--mel-only", "in.wav", "-o", "m.npy", "--preset", "tacotron2"], "exclude each other"),
        (["--mel-only", "empty", "-o", "out"], "no audio files in empty"),
    ],
)
def test_mistakes_on_the_command_line(
    vocode: Callable[..., Result], arguments: list[str], message: str
) -> None:
    Path("empty").mkdir()
    np.save("mel.npy", make_mel())
    write_speech(Path("in.wav"), 0.2)
    before = sorted(os.listdir())
    result = vocode(*arguments)
    assert message in one_line(result)
    assert result.exit_code == 2
    assert sorted(os.listdir()) == before


def test_without_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoint, "bundled_root", lambda kind: tmp_path / kind)
    np.save("mel.npy", make_mel())
    write_speech(Path("in.wav"), 0.2)
    for arguments in (("mel.npy", "-o", "out.wav"), ("in.wav", "-o", "out.wav")):
        result = run(*arguments)
        assert result.exit_code == 1
        assert "give --checkpoint" in one_line(result)
    assert "or --preset NAME" in one_line(run("--mel-only", "in.wav", "-o", "mel2.npy"))
    unknown = run("--mel-only", "in.wav", "-o", "mel2.npy", "--preset", "hifigan-22")
    assert (unknown.exit_code, "did you mean 'hifigan-22k'" in one_line(unknown)) == (2, True)


def test_a_denoiser_takes_no_mel(tiny_checkpoint: Path, vocos: Model) -> None:
    np.save("mel.npy", make_mel())
    result = CliRunner().invoke(
        app, ["denoise", "mel.npy", "-o", "out.wav", "--checkpoint", str(tiny_checkpoint)]
    )
    assert result.exit_code == 1
    assert "takes a waveform, not a mel" in one_line(result)
    other = run("mel.npy", "-o", "out.wav", "--checkpoint", tiny_checkpoint)
    assert "was made to denoise" in one_line(other)


# Every vocoder's official files

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
    model = save(Path("model.safetensors"), "wavenet", WAVENET)
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
