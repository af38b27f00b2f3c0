"""`audiotool denoise` with every architecture that denoises, an enrolment, and a microphone array."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch
from kit.audio import write_speech
from kit.checkpoints import save_model
from kit.command import run_command
from kit.models import build
from typer.testing import Result

import audiotool
from audiotool.models.personalised_transformer import PersonalisedTransformer
from audiotool.models.registry import MODELS
from audiotool.tasks.base import served_by

STEMS = {"conv-tasnet": {"stems": ("speech",)}}
DENOISERS = [
    name for name, model in MODELS.all().items() if "denoise" in served_by(model) and name != "ca-dense-unet"
]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(name: str, **changes: object) -> None:
    save_model(Path("model.safetensors"), build(name, **changes), "denoise")


def denoise(*arguments: str) -> Result:
    words = ["denoise", "--checkpoint", "model.safetensors", "--device", "cpu", *arguments]
    return run_command(*words)


@pytest.mark.parametrize("name", DENOISERS)
def test_every_denoiser_takes_any_recording(name: str) -> None:
    save(name, **STEMS.get(name, {}))
    write_speech(Path("in/mono.wav"), 0.31, 16000)
    write_speech(Path("in/stereo.wav"), 0.31, 44100, 2)
    result = denoise("in", "-o", "out")
    assert result.exit_code == 0, result.output
    for file in ("mono.wav", "stereo.wav"):
        before, after = soundfile.info(f"in/{file}"), soundfile.info(f"out/{file}")
        assert (before.frames, before.channels, before.samplerate) == (
            after.frames,
            after.channels,
            after.samplerate,
        )


def test_an_array_becomes_its_first_microphone() -> None:
    save("ca-dense-unet", microphones=6)
    write_speech(Path("in.wav"), 0.4, 44100, 6)
    write_speech(Path("clean.wav"), 0.4, 44100)
    result = denoise("in.wav", "-o", "out.wav", "--reference", "clean.wav")
    assert result.exit_code == 0, result.output
    assert "si_sdr" in result.stdout
    assert audiotool.read("out.wav")[0].shape == (1, 17640)


def test_an_array_of_another_size_is_refused() -> None:
    save("ca-dense-unet", microphones=6)
    write_speech(Path("in.wav"), 0.4, 16000, 2)
    result = denoise("in.wav", "-o", "out.wav")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "in.wav: this checkpoint was made for 6 microphones, the input has 2 channels" in result.stderr
    assert not Path("out.wav").exists()


def test_the_enrolment_is_encoded_once_and_used(monkeypatch: pytest.MonkeyPatch) -> None:
    save("personalised-transformer")
    for name in ("a", "b"):
        write_speech(Path(f"in/{name}.wav"), 0.4, 16000)
    write_speech(Path("voice.wav"), 1.2, 44100, 2)
    lengths = []
    encode = PersonalisedTransformer.encode_enrolment

    def counting(self: PersonalisedTransformer, enrolment: torch.Tensor) -> torch.Tensor:
        lengths.append(enrolment.shape)
        return encode(self, enrolment)

    monkeypatch.setattr(PersonalisedTransformer, "encode_enrolment", counting)
    assert denoise("in", "-o", "anybody").exit_code == 0
    assert lengths == []
    result = denoise("in", "-o", "somebody", "--enroll", "voice.wav")
    assert result.exit_code == 0, result.output
    assert lengths == [(1, 1, 19200)]
    assert Path("anybody/a.wav").read_bytes() != Path("somebody/a.wav").read_bytes()


@pytest.mark.parametrize(
    ("enrolment", "code", "message"),
    [
        ("missing.wav", 2, "no such enrolment: missing.wav"),
        ("short.wav", 1, "short.wav lasts 0.50 s: an enrolment needs 1 s or more"),
        ("text.wav", 1, "text.wav cannot be read as audio"),
        ("silent.wav", 1, "silent.wav is silent"),
    ],
)
def test_enrolments_that_cannot_be_used(enrolment: str, code: int, message: str) -> None:
    save("personalised-transformer")
    write_speech(Path("in.wav"), 0.2)
    write_speech(Path("short.wav"), 0.5)
    Path("text.wav").write_text("Dear friend, ...")
    audiotool.write("silent.wav", torch.zeros(32000).numpy(), 16000)
    result = denoise("in.wav", "-o", "out.wav", "--enroll", enrolment)
    assert (result.exit_code, result.stderr.count("\n")) == (code, 1)
    assert message in result.stderr
    assert not Path("out.wav").exists()


def test_a_model_without_enrolment_says_so() -> None:
    save("gtcrn")
    write_speech(Path("in.wav"), 1.1)
    result = denoise("in.wav", "-o", "out.wav", "--enroll", "in.wav")
    assert result.exit_code == 1
    assert "gtcrn takes no enrolment" in result.stderr
