"""Every script's `main` runs, on a second of sound and small networks."""

from __future__ import annotations

import importlib
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from kit.audio import speech_like, write_speech
from kit.checkpoints import save_model
from safetensors.numpy import load_file

from audiotool import extras
from audiotool.errors import AudiotoolError, PlanError
from audiotool.models.registry import MODELS

ROOT = Path(__file__).parents[2]
AUDIO = ROOT / "tests" / "data" / "audio"


@pytest.fixture
def mixtures(tmp_path: Path) -> Path:
    """A rendered test set of one mixture."""
    clean = write_speech(tmp_path / "test" / "clean" / "0.wav", 1.5, subtype="FLOAT")
    noise = np.random.default_rng(0).normal(0, 0.02, (1, 24000)).astype(np.float32)
    noisy = tmp_path / "test" / "noisy" / "0.wav"
    noisy.parent.mkdir()
    soundfile.write(noisy, (speech_like(1.5, 16000) + noise).T, 16000, "FLOAT")
    (tmp_path / "test" / "index.csv").write_text(f"clean,noise\n{clean},wind\n")
    return tmp_path / "test"


def test_every_script_is_run_by_a_test() -> None:
    texts = {path.stem: path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py")}
    scripts = [path for path in (ROOT / "scripts").glob("*.py") if "def main(" in path.read_text("utf-8")]
    assert scripts
    for script in scripts:
        is_run = any(f'run("{script.stem}"' in text for text in texts.values())
        assert is_run or f"test_{script.stem}" in texts, script


WITH_OPTIONS = sorted(
    path.stem for path in (ROOT / "scripts").glob("*.py") if "ArgumentParser(" in path.read_text("utf-8")
)


@pytest.mark.skipif(sys.platform == "win32", reason="some need os.wait4")
@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_help(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(name).main()
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: {name}.py" in text
    assert not re.search(r"\S {4,}--", text), "a backslash has joined two lines of a command"


NOWHERE = {
    "average_checkpoints": ("out.safetensors", "1:nosuch"),
    "benchmark_data": ("--speech", "nosuch.csv"),
    "benchmark_precision": ("nosuch",),
    "bundle_checkpoint": ("nosuch.safetensors", "--name", "x", "--recipe", "denoise", "--data", "."),
    "check_coverage": ("nosuch.json",),
    "check_denoiser": ("nosuch",),
    "check_separator": ("nosuch",),
    "compare_peers": ("--test", "nosuch", "--peers", ""),
    "deepen_checkpoint": ("out.safetensors", "nosuch"),
    "measure_bandwidth": ("nosuch.csv", "-o", "out.csv"),
    "measure_chunks": ("denoise-tiny-16k", "nosuch.wav"),
    "measure_overlap_add": ("denoise-tiny-16k", "nosuch.wav"),
    "measure_super_resolution": ("--test", "nosuch"),
    "profile_graph": ("--checkpoint", "nosuch"),
    "reconfigure_checkpoint": ("out.safetensors", "nosuch", "--set", "dim=8"),
    "render_valid_wide": ("out", "--speech", "nosuch.csv", "--noise", "nosuch.csv", "--rir", "nosuch.csv"),
    "score_upper_band": ("--test", "nosuch"),
    "set_beginning": ("out.safetensors", "denoise-tiny-16k", "nosuch"),
    "update_manifest": ("nosuch",),
    "widen_checkpoint": ("out.safetensors", "nosuch"),
}
"""Scripts -> words that name a file, folder or checkpoint that does not exist."""


@pytest.mark.parametrize("name", NOWHERE)
def test_what_does_not_exist_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *NOWHERE[name]])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "scripts" / f"{name}.py"), run_name="__main__")
    said = ended.value.code if isinstance(ended.value.code, str) else capsys.readouterr().err
    assert "nosuch" in said.splitlines()[-1]
    assert "\n" not in str(ended.value.code)
    assert not list(tmp_path.iterdir())


WRITES = {name: words for name, words in NOWHERE.items() if {"out.safetensors", "out.csv"} & set(words)}


@pytest.mark.parametrize("name", WRITES)
def test_an_output_that_exists_is_kept(
    name: str, run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    there = [Path(name) for name in ("out.safetensors", "out.csv")]
    for path in there:
        path.write_text("mine")
    with pytest.raises(PlanError, match="exists: give --overwrite to replace it"):
        run(name, *WRITES[name])
    with pytest.raises((AudiotoolError, OSError), match="nosuch"):
        run(name, *WRITES[name], "--overwrite")
    assert [path.read_text() for path in there] == ["mine", "mine"]


def test_every_script_turns_errors_into_a_line() -> None:
    for path in (ROOT / "scripts").glob("*.py"):
        text = path.read_text("utf-8")
        assert ("def main(" in text) == text.endswith('if __name__ == "__main__":\n    run_script(main)\n'), (
            path
        )


def test_check_denoiser(run: Callable[..., str], mixtures: Path) -> None:
    out = run("check_denoiser", mixtures, "--model", "denoise-tiny-16k")
    assert "| silence | largest sample |" in out
    assert "| wind | 1 |" in out
    assert "lead-in" not in out  # the mixtures are too short


def test_check_denoiser_after_lead_ins(run: Callable[..., str], tmp_path: Path) -> None:
    demo = ROOT / "tests" / "data" / "audio" / "demo"
    for folder in ("clean", "noisy"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.flac").write_bytes((demo / f"{folder}.flac").read_bytes())
    (tmp_path / "index.csv").write_text("clean,noise\nclean/0.flac,engine\n")
    rows = run("check_denoiser", tmp_path, "--model", "denoise-tiny-16k").split("| lead-in, 1 mixtures |")[1]
    cells = [line.strip("| ").split(" | ") for line in rows.splitlines()[2:]]
    values = {name: (float(in_file), float(live)) for name, in_file, live in cells}
    assert len(values) == 5
    assert values["none"][0] > values["none"][1], "a file has a warm-up"
    assert min(map(min, values.values())) > 0


def test_check_separator(run: Callable[..., str], tmp_path: Path) -> None:
    voices = speech_like(1.0, 16000, 2)
    for folder, name, samples in (
        ("clean", "0.speaker1", voices[0]),
        ("clean", "0.speaker2", voices[1]),
        ("noisy", "0", voices.sum(0)),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        soundfile.write(tmp_path / folder / f"{name}.wav", samples, 16000, "FLOAT")
    assert "| 1 mixtures | measured |" in run("check_separator", tmp_path)


def test_measure_super_resolution(run: Callable[..., str], tmp_path: Path) -> None:
    """The better a row knows the reference, the nearer it is."""
    wide, rate = soundfile.read(AUDIO / "demo" / "clean.flac", dtype="float32", frames=32000)
    narrow = soxr.resample(soxr.resample(wide, rate, 8000), 8000, rate)
    for folder, samples in (("clean", wide), ("noisy", narrow)):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "0.wav", samples, rate, "FLOAT")
    model = MODELS.get("bandwidth-extension").from_config({"dim": 16, "layers": 1})
    weights = save_model(tmp_path / "model.safetensors", model, "super-resolve")
    asked = r"^(input|true powers|true magnitudes and phases|as predicted, -20 dB)$"
    printed = run("measure_super_resolution", "--test", tmp_path, "--model", weights, "--rows", asked)
    header, _, *rows = [line.strip("| ").split(" | ") for line in printed.splitlines()]
    distance = {row[0]: float(row[header.index("restored_lsd")]) for row in rows}
    assert len(distance) == 4
    assert distance["true magnitudes and phases"] < 0.3 < distance["true powers"] < distance["input"]


def test_check_released(run: Callable[..., str], tmp_path: Path) -> None:
    """A pack made here of the official network and its own outputs."""
    pack = ROOT / "tests" / "data" / "parity" / "gtcrn"
    (tmp_path / "gtcrn").mkdir()
    (tmp_path / "gtcrn" / "model_trained_on_dns3.tar").write_bytes(
        (pack / "model_trained_on_dns3.tar").read_bytes()
    )
    io = load_file(pack / "io.safetensors")
    outputs: dict[str, Any] = {f"y.dns3.{key}": io["enhanced"][0] for key in ("s0", "s5", "s10")}
    inputs: dict[str, Any] = {f"x.{key}": io["noisy"][0] for key in ("s0", "s5", "s10")}
    np.savez(tmp_path / "gtcrn" / "io.npz", **outputs)
    np.savez(tmp_path / "inputs_16k.npz", **inputs)
    line = run("check_released", "--packs", tmp_path).splitlines()[-1]
    assert line.startswith("| gtcrn |")
    assert all(float(cell) < 1e-4 for cell in line.strip("| ").split(" | ")[2:])


def test_compare_peers(run: Callable[..., str], mixtures: Path) -> None:
    words = ("--test", mixtures, "--model", "denoise-tiny-16k", "--peers", "")
    lines = run("compare_peers", *words).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| noisy input", "| audiotool, denoise-tiny-16k"]


@pytest.mark.skipif(not extras.is_there("uvicorn"), reason=extras.install("serve"))
@pytest.mark.parametrize(
    ("mode", "said"), [("real-time", "0 broke off"), ("come-and-go", "6 in"), ("nonsense", "6 in")]
)
def test_load_server(run: Callable[..., str], mode: str, said: str) -> None:
    from kit.server import Running

    with Running() as running:
        words = ("--address", f"127.0.0.1:{running.port}", "--clients", 2, "--seconds", 0.2, "--count", 6)
        out = run("load_server", mode, *words)
    assert said in out
    assert "0 left open" in out


def test_measure_pipes(run: Callable[..., str]) -> None:
    out = run("measure_pipes", "--model", "denoise-tiny-16k", "--seconds", 1.0)
    lags = re.findall(r"lags by at most (\d+) samples, ([\d.]+) ms", out)
    assert [samples for samples, _ in lags] == ["4351", "511", "511"]
    page = " ".join((ROOT / "docs/guides/batches.md").read_text("utf-8").split())
    told = re.search(r"at most (\d+) ms with .* that (\d+) ms\..*\(511 samples at 16 kHz, (\d+) ms\)", page)
    assert told is not None
    assert [round(float(milliseconds)) for _, milliseconds in lags] == [int(n) for n in told.groups()]
    assert out.count("of live.feed") == 4


def test_measure_chunks(run: Callable[..., str], recording: Path) -> None:
    out = run("measure_chunks", "denoise-tiny-16k", recording, recording, "--chunks", 0.1, 0.2)
    found = re.findall(r"chunks of 0\.\d s, 2 recordings: (\S+) of the peak in the median, (\S+) in", out)
    assert len(found) == 2
    assert all(median == worst and 0 <= float(worst) < 1e-5 for median, worst in found)


def test_measure_overlap_add(run: Callable[..., str], denoiser: Path, recording: Path) -> None:
    assert "difference" in run("measure_overlap_add", denoiser, recording, "--segment", 0.5, "--overlap", 0.1)
