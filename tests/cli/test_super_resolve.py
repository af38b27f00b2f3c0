"""`audiotool super-resolve`: the input's band passes unchanged, its bandwidth is reported."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile
import soxr
import torch
from kit.audio import write_speech
from kit.checkpoints import save_model
from kit.command import run_command
from typer.testing import Result

import audiotool
from audiotool.errors import CheckpointError, InputError, StreamError
from audiotool.models.spectral_convnext import SpectralConvNeXt, SpectralConvNeXtConfig

CLEAN = Path(__file__).parents[1] / "data" / "audio" / "demo" / "clean.flac"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def super_resolve() -> Callable[..., Result]:
    """Run the command with an untrained 16 kHz model."""
    torch.manual_seed(0)
    model = SpectralConvNeXt(SpectralConvNeXtConfig(head="extend", dim=16, blocks=2)).eval()
    save_model(Path("wide.safetensors"), model, "super-resolve")

    def call(*arguments: str | Path, stdin: bytes | None = None) -> Result:
        words = ["super-resolve", "--checkpoint", "wide.safetensors", "--device", "cpu"]
        return run_command(*words, *arguments, input=stdin)

    return call


def bundled(*arguments: str, stdin: bytes | None = None) -> Result:
    """Run the command with a checkpoint that comes along."""
    return run_command("super-resolve", "--device", "cpu", *arguments, input=stdin)


def piped(*arguments: str) -> np.ndarray:
    """Return what the same makes of in.wav (time,) from pipe to pipe, at 16 kHz."""
    done = bundled("-", "-o", "-", "--rate", "16000", *arguments, stdin=Path("in.wav").read_bytes())
    assert done.exit_code == 0, done.output
    return audiotool.read(io.BytesIO(done.stdout_bytes))[0][0]


def write_noise(path: str, rate: int, content_rate: int, seconds: float = 1.0) -> np.ndarray:
    """White noise that ends at half of `content_rate`, in a file of `rate`."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * content_rate))
    x = soxr.resample(noise, content_rate, rate, quality="VHQ").astype(np.float32)
    audiotool.write(path, x, rate, "FLOAT")
    return x


def spectrum(x: np.ndarray) -> np.ndarray:
    """Magnitudes through a window: the ends of x leak nothing."""
    return np.abs(np.fft.rfft(x * np.blackman(len(x))))


def power_above(x: np.ndarray, rate: int, hz: float) -> float:
    power = spectrum(x) ** 2
    return float(power[np.fft.rfftfreq(len(x), 1 / rate) > hz].sum() / power.sum())


def test_telephone_speech_gets_a_band_and_keeps_its_own(super_resolve: Callable[..., Result]) -> None:
    x = write_noise("in.wav", 8000, 8000)
    result = super_resolve("in.wav", "-o", "out.wav", "--report", "r.json")
    assert result.exit_code == 0, result.output
    y, rate = audiotool.read("out.wav")
    assert (rate, y.shape) == (16000, (1, 16000))
    assert power_above(y[0], rate, 4200) > 1e-6
    assert power_above(y[0] - soxr.resample(x, 8000, 16000), rate, 3700) > 0.999
    assert "in.wav: holds sound up to 4.0 kHz" in result.stderr
    [row] = json.loads(Path("r.json").read_text())["files"]
    assert row["bandwidth_hz"] == pytest.approx(4000, abs=100)


def test_an_upsampled_recording_is_found_out(super_resolve: Callable[..., Result]) -> None:
    x = write_noise("in.wav", 16000, 6000)
    result = super_resolve("in.wav", "-o", "out.wav")
    assert "holds sound up to 3." in result.stderr
    assert "nothing to extend" not in result.stderr
    y = audiotool.read("out.wav")[0][0]
    assert len(y) == len(x)
    assert power_above(y, 16000, 3500) > 1e-6
    assert power_above(y - x, 16000, 2800) > 0.999


def test_a_full_band_stays_unchanged_and_is_reported(super_resolve: Callable[..., Result]) -> None:
    x = write_noise("in.wav", 48000, 48000)
    result = super_resolve("in.wav", "-o", "out.wav")
    assert "holds sound up to 24.0 kHz: there is nothing to extend" in result.stderr
    y, rate = audiotool.read("out.wav")
    assert rate == 48000
    np.testing.assert_allclose(y[0], x, atol=1e-5)


def test_a_wide_band_is_referred_to_another_model(super_resolve: Callable[..., Result]) -> None:
    write_noise("in.wav", 16000, 16000)
    result = super_resolve("in.wav", "-o", "out.wav", "--rate", 24000)
    expected = "holds sound up to 8.0 kHz: there is nothing to extend; use the model super-resolve-48k"
    assert expected in result.stderr


def test_a_band_too_narrow_for_a_model_is_reported(super_resolve: Callable[..., Result]) -> None:
    write_noise("in.wav", 8000, 8000)
    config = SpectralConvNeXtConfig(
        head="extend", sample_rate=24000, extend_from_hz=7000.0, dim=16, blocks=2, n_fft=768, hop_length=384
    )
    save_model(Path("wide.safetensors"), SpectralConvNeXt(config).eval(), "super-resolve")
    done = super_resolve("in.wav", "-o", "out.wav")
    found = "holds sound up to 4.0 kHz: nothing comes between that and 7.0 kHz, where the model begins"
    assert f"{found}; use the model super-resolve-48k" in done.stderr


@pytest.mark.parametrize("content_rate", [4000, 8000, 12000, 16000, 24000])
@pytest.mark.parametrize("output_rate", [16000, 24000, 48000])
def test_one_model_for_every_bandwidth_and_rate(content_rate: int, output_rate: int) -> None:
    """The new band is there up to half of the output's rate, and the band below is the input's."""
    x = write_noise("in.wav", max(8000, content_rate), content_rate)
    done = bundled("in.wav", "-o", "out.wav", "--rate", str(output_rate))
    assert done.exit_code == 0, done.output
    y, rate = audiotool.read("out.wav")
    assert (rate, y.shape) == (output_rate, (1, output_rate))
    edge = content_rate / 2
    assert f"holds sound up to {edge // 1000:.0f}." in done.stderr
    if edge >= 0.95 * output_rate / 2:
        assert f"an output of {output_rate} Hz holds no more than that" in done.stderr
        return
    assert power_above(y[0], rate, 1.05 * edge) > 1e-5
    same = soxr.resample(x, max(8000, content_rate), rate, quality="VHQ")[: y.shape[1]]
    below = np.fft.rfftfreq(len(same), 1 / rate) < 0.85 * edge
    error, power = spectrum(y[0] - same)[below], spectrum(same)[below]
    assert np.square(error).sum() < 1e-6 * np.square(power).sum()


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["--rate", "16000"], "PCM_16"), (["--rate", "8000"], "GSM610"), (["--subtype", "GSM610"], "GSM610")],
)
def test_codings_of_speech_are_kept_at_their_rate_alone(
    super_resolve: Callable[..., Result], words: list[str], expected: str
) -> None:
    write_speech(Path("gsm.wav"), 0.5, 8000, subtype="GSM610")
    done = super_resolve("gsm.wav", "-o", "out.wav", *words)
    assert done.exit_code == 0, done.output
    assert soundfile.info("out.wav").subtype == expected
    said = "GSM610 is a coding of speech at 8000 Hz: at 16000 Hz PCM_16 is written" in " ".join(
        done.stderr.split()
    )
    assert said == (expected == "PCM_16")


def test_the_bundled_model_leaves_a_full_band_alone() -> None:
    x = write_noise("in.wav", 48000, 48000)
    done = bundled("in.wav", "-o", "out.wav")
    assert done.stderr.rstrip().endswith("holds sound up to 24.0 kHz: there is nothing to extend")
    np.testing.assert_allclose(audiotool.read("out.wav")[0][0], x, atol=1e-6)


@pytest.mark.parametrize(
    ("rate", "content_rate", "words"),
    [
        (16000, 16000, ["--rate", "16000"]),
        (16000, 15500, ["--rate", "16000"]),
        (44100, 44100, ["--rate", "44100"]),
        (48000, 46500, []),
        (96000, 64000, []),
    ],
)
def test_a_recording_with_nothing_to_extend_stays_the_same_to_the_bit(
    rate: int, content_rate: int, words: list[str]
) -> None:
    x = write_noise("in.wav", rate, content_rate)
    done = bundled("in.wav", "-o", "out.wav", *words)
    assert re.search("nothing to extend|holds no more than that", done.stderr)
    np.testing.assert_array_equal(audiotool.read("out.wav")[0][0], x)
    given = bundled(
        *("-", "-o", "-", *words, "--bandwidth", str(content_rate // 2)), stdin=Path("in.wav").read_bytes()
    )
    np.testing.assert_array_equal(audiotool.read(io.BytesIO(given.stdout_bytes))[0][0], x)
    pipeline = audiotool.load("super-resolve", output_rate=rate)
    np.testing.assert_array_equal(pipeline(x, rate), x)


def test_a_bandwidth_that_is_given_is_reported() -> None:
    write_noise("in.wav", 16000, 16000)
    for source in ("in.wav", "-"):
        report = f"{source[0]}.json"
        done = bundled(
            *(source, "-o", f"{report}.wav", "--bandwidth", "3000", "--report", report),
            stdin=Path("in.wav").read_bytes(),
        )
        assert done.exit_code == 0, done.output
        assert json.loads(Path(report).read_text())["files"][0]["bandwidth_hz"] == 3000


def test_a_bandwidth_beyond_what_the_recording_can_hold_is_all_of_it() -> None:
    write_noise("in.wav", 16000, 16000)
    for hz in ("8000", "24000"):
        assert bundled("in.wav", "-o", f"{hz}.wav", "--bandwidth", hz).exit_code == 0
    whole, more = (audiotool.read(f"{hz}.wav")[0] for hz in (8000, 24000))
    np.testing.assert_array_equal(more, whole)


def test_a_bandwidth_that_is_given_is_not_measured() -> None:
    """A faint hiss lies above the speech: what the user knows goes before what is found, in pipes too."""
    x = write_noise("in.wav", 16000, 8000)
    hiss = 1e-4 * np.random.default_rng(1).standard_normal(len(x)).astype(np.float32)
    audiotool.write("hissing.wav", x + hiss, 16000, "FLOAT")
    added = {}
    for name, words in {"measured": (), "given": ("--bandwidth", "4000")}.items():
        done = bundled("hissing.wav", "-o", f"{name}.wav", "--rate", "16000", *words)
        assert done.exit_code == 0, done.output
        added[name] = power_above(audiotool.read(f"{name}.wav")[0][0], 16000, 4300)
    assert added["given"] > 100 * added["measured"]
    assert "holds sound" not in done.stderr
    assert power_above(piped("--bandwidth", "4000"), 16000, 4300) > 1e-5


@pytest.mark.parametrize(
    ("given", "rate", "content", "expected"),
    [
        (30000, 48000, 16000, "of which 48000 Hz hold 24.0: there is nothing to extend"),
        (5000, 8000, 8000, "is given a bandwidth of 5.0 kHz, of which 8000 Hz hold 4.0"),
        (600, 8000, 8000, "is given a bandwidth of 0.6 kHz: nothing comes between that and 2.0 kHz"),
        (3500, 8000, 8000, None),
    ],
)
def test_a_bandwidth_that_does_not_fit_is_reported(
    given: int, rate: int, content: int, expected: str | None
) -> None:
    write_noise("in.wav", rate, content, 0.2)
    done = bundled("in.wav", "-o", "out.wav", "--bandwidth", str(given))
    assert done.exit_code == 0, done.output
    if expected is None:
        assert "is given" not in done.stderr
    else:
        assert expected in done.stderr


@pytest.mark.parametrize("words", [("--rate", "96000"), ("--rate", "96000", "--bandwidth", "3500")])
def test_an_output_beyond_the_model_is_reported(words: tuple[str, ...]) -> None:
    write_noise("in.wav", 8000, 8000, 0.2)
    done = bundled("in.wav", "-o", "out.wav", *words)
    assert "kHz: nothing comes above 24.0 kHz, where the model ends" in done.stderr
    y, rate = audiotool.read("out.wav")
    assert power_above(y[0], rate, 4500) > 1e-6
    assert power_above(y[0], rate, 25000) < 1e-9


def test_every_channel_is_extended_from_its_own_bandwidth() -> None:
    """A telephone's channel beside a studio's: one gets a band, the other stays as it is."""
    tracks = [write_noise("a.wav", 48000, content) for content in (8000, 48000)]
    audiotool.write("in.wav", np.stack(tracks), 48000, "FLOAT")
    for engine in ("onnx", "torch"):
        done = bundled("in.wav", "-o", "out.wav", "--overwrite", "--engine", engine, "--report", "r.json")
        assert done.exit_code == 0, done.output
        assert "holds sound up to 24.0 kHz in one channel, 4." in done.stderr
        assert json.loads(Path("r.json").read_text())["files"][0]["bandwidth_hz"] == 24000
        narrow, full = audiotool.read("out.wav")[0]
        np.testing.assert_allclose(full, tracks[1], atol=1e-6)
        assert power_above(narrow, 48000, 4300) > 1e-5
        assert power_above(narrow - tracks[0], 48000, 3700) > 0.999


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_samples_far_beyond_full_scale(engine: Literal["onnx", "torch"]) -> None:
    x = np.float32(1e30) * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    with np.errstate(all="raise"), pytest.raises(InputError, match="far beyond full scale"):
        audiotool.load("super-resolve", engine=engine)(x, 16000)


def test_a_pipe_follows_where_the_content_ends() -> None:
    write_noise("in.wav", 16000, 8000)
    y = piped()
    assert power_above(y, 16000, 4400) > 1e-5
    assert power_above(y - audiotool.read("in.wav")[0][0], 16000, 3700) > 0.999


@pytest.mark.parametrize("kind", ["click", "quiet"])
def test_files_and_pipes_are_extended_alike(kind: str) -> None:
    """What fills the spectrum and is no content: a click, the rounding of a quiet recording to 16 bits."""
    narrow = soxr.resample(audiotool.read(CLEAN)[0][0, 16000:64000], 16000, 7000)
    x = soxr.resample(narrow, 7000, 16000)
    if kind == "click":
        x[24000] += 0.5
    else:
        x *= 10**-2.7 / np.std(x)
    audiotool.write("in.wav", x, 16000, "PCM_16")
    done = bundled("in.wav", "-o", "file.wav", "--rate", "16000")
    assert re.search(r"holds sound up to 3\.[45] kHz\n", done.stderr)
    for output in (audiotool.read("file.wav")[0][0], piped()):
        added = output - audiotool.read("in.wav")[0][0]
        assert np.std(added[26000:]) > 0.01 * np.std(x[26000:])


def test_a_bandwidth_is_refused_by_models_that_extend_none(tmp_path: Path) -> None:
    source = write_speech(tmp_path / "in.wav")
    pipeline = audiotool.load("denoise-tiny-16k", bandwidth_hz=4000.0)
    with pytest.raises(StreamError, match="extends no band: a bandwidth says nothing to it"):
        pipeline.process_file(source, tmp_path / "out.wav")
    with pytest.raises(StreamError, match="a bandwidth is in Hz and above 0"):
        audiotool.load("super-resolve", bandwidth_hz=-1.0)


def test_former_names_name_their_replacement() -> None:
    for name, rate in (("wideband-16k", 16000), ("wideband-24k", 24000)):
        with pytest.raises(CheckpointError, match=f"super-resolve-48k with --rate {rate}"):
            audiotool.load(name)


def test_a_rate_that_leaves_no_room_is_reported(super_resolve: Callable[..., Result]) -> None:
    write_noise("in.wav", 8000, 8000)
    done = super_resolve("in.wav", "-o", "out.wav", "--rate", 8000)
    assert "up to 4.0 kHz: an output of 8000 Hz holds no more than that" in done.stderr


def test_rates_and_channels(super_resolve: Callable[..., Result]) -> None:
    write_speech(Path("in.wav"), 0.3, 8000, 2)
    assert super_resolve("in.wav", "-o", "out.wav", "--rate", 24000).exit_code == 0
    info = soundfile.info("out.wav")
    assert (info.samplerate, info.channels, info.frames) == (24000, 2, 7200)
    piped = super_resolve("-", stdin=Path("in.wav").read_bytes())
    assert piped.exit_code == 0
    assert len(piped.stdout_bytes) == 44 + 2 * 2 * 4800
    assert "holds sound" not in piped.stderr


def test_scores_stand_beside_plain_resampling(super_resolve: Callable[..., Result]) -> None:
    Path("in").mkdir()
    write_noise("in/a.wav", 8000, 8000, 1.5)
    Path("ref").mkdir()
    write_noise("ref/a.wav", 16000, 16000, 1.5)
    result = super_resolve("in", "-o", "out", "--reference", "ref", "--report", "r.json")
    assert result.exit_code == 0, result.output
    [row] = json.loads(Path("r.json").read_text())["files"]
    assert row["lsd_high"] < row["lsd_high_noisy"]
    assert row["lsd_high_improvement"] == pytest.approx(row["lsd_high"] - row["lsd_high_noisy"])
    assert {"restored_lsd", "restored_unvoiced_noisy"} <= row.keys()
    assert super_resolve("in", "-o", "out", "--skip-existing", "--reference", "ref").exit_code == 0


def test_without_a_bundled_checkpoint_the_error_has_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiotool.named_checkpoints.bundled_root", lambda kind: tmp_path / kind)
    write_speech(Path("in.wav"))
    result = run_command("super-resolve", "in.wav", "-o", "out.wav")
    assert result.exit_code == 1
    assert "no bundled checkpoint serves the task 'super-resolve': give --checkpoint PATH" in result.stderr
    assert result.stderr.count("\n") == 1
