"""Every script's `main` runs, on a second of sound and small networks."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import benchmark_caches
import benchmark_engines
import benchmark_streaming
import bundle_checkpoint
import check_coverage
import numpy as np
import pytest
import soundfile
import soxr
import update_manifest
import write_model_table
from kit.audio import speech_like, write_speech
from kit.checkpoints import save_model
from kit.command import run_command
from kit.patience import PATIENCE
from safetensors.numpy import load_file

from audiotool import checkpoint, extras, named_checkpoints
from audiotool.errors import CheckpointError, InputError
from audiotool.models.registry import MODELS

ROOT = Path(__file__).parents[2]
AUDIO = ROOT / "tests" / "data" / "audio"
TINY = {"dim": 8, "layers": 1}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`python scripts/NAME.py WORDS`, in this process; returns what it prints."""

    def main(name: str, *words: object) -> str:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, words)])
        importlib.import_module(name).main()
        return capsys.readouterr().out

    return main


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A second of speech at 16 kHz."""
    return write_speech(tmp_path / "speech.wav", 1.0)


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


@pytest.fixture
def denoiser(tmp_path: Path) -> Path:
    """A checkpoint of a band-split GRU with random weights, which a graph can be written of."""
    model = MODELS.get("band-split-gru").from_config({**MODELS.get("band-split-gru").small, **TINY}).eval()
    return save_model(tmp_path / "denoiser.safetensors", model, "denoise")


def test_every_script_is_run_by_a_test() -> None:
    room = Path(__file__).parent
    tests = {path.stem.removeprefix("test_") for path in room.glob("test_*.py")}
    here = Path(__file__).read_text(encoding="utf-8")
    scripts = [path for path in (ROOT / "scripts").glob("*.py") if "def main(" in path.read_text("utf-8")]
    assert scripts
    for script in scripts:
        assert script.stem in tests or f'"{script.stem}"' in here or f"{script.stem}.main(" in here, script


WITH_OPTIONS = sorted(
    path.stem for path in (ROOT / "scripts").glob("*.py") if "ArgumentParser(" in path.read_text("utf-8")
)


def test_benchmark_precision(run: Callable[..., str]) -> None:
    small = ("model.config.dim=8", "model.config.layers=1", "audio.segment_seconds=0.5")
    options = [word for setting in small for word in ("--set", setting)]
    cells = run("benchmark_precision", "--steps", 1, *options).splitlines()[-1].split("|")
    assert cells[1].strip() == "denoise-broad"
    assert float(cells[5]) > 0.9


on_unix = pytest.mark.skipif(sys.platform == "win32", reason="it reads what child processes took by os.wait4")


@pytest.mark.parametrize("name", WITH_OPTIONS)
@on_unix
def test_help(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(name).main()
    assert ended.value.code == 0
    assert f"usage: {name}.py" in capsys.readouterr().out


NOWHERE = {
    "average_checkpoints": ("out.safetensors", "1:nosuch"),
    "benchmark_data": ("--speech", "nosuch.csv"),
    "benchmark_precision": ("nosuch",),
    "bundle_checkpoint": ("nosuch.safetensors", "--name", "x", "--data", "."),
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


def test_every_script_turns_errors_into_a_line() -> None:
    for path in (ROOT / "scripts").glob("*.py"):
        text = path.read_text("utf-8")
        assert ("def main(" in text) == text.endswith('if __name__ == "__main__":\n    run_script(main)\n'), (
            path
        )


def test_benchmark_attention(run: Callable[..., str]) -> None:
    out = run("benchmark_attention", "--lengths", 40, 80, "--dim", 16, "--heads", 2, "--window", 8)
    assert "windowed" in out
    assert " ms" in out


def test_benchmark_operators(run: Callable[..., str]) -> None:
    out = run("benchmark_operators", "--checkpoint", "denoise-16k", "--streams", 2, "--runs", 1)
    lines = {line[:22].strip(): line[22:].split() for line in out.splitlines()}
    assert lines["operator"] == ["alone", "2", "streams", "file"]
    assert float(lines["GRU"][0]) == 0, "a single step of a bundled graph is done without the operator"
    assert float(lines["GRU"][2]) > 0
    assert all(float(number) > 0 for name in ("all", "GFLOP/s") for number in lines[name])


def test_benchmark_cluster(run: Callable[..., str]) -> None:
    lines = run("benchmark_cluster", "plan", "--files", 640).splitlines()
    assert "shard 3/64: 640 listed files, 10 jobs" in lines[0]
    assert "all: 640 listed files, 640 jobs" in lines[1]


@pytest.mark.skipif(not extras.is_there("ray"), reason=extras.install("cluster"))
def test_benchmark_cluster_of_two_nodes(run: Callable[..., str]) -> None:
    out = run("benchmark_cluster", "ray", "--files", 4, "--seconds", 1, "--rounds", 1)
    assert "all outputs identical" in out
    assert "ms of processor time a job" in out


def test_benchmark_data(run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    words = ("--segment-seconds", 0.5, "--batch-size", 1, "--batches", 2, "--workers", 0)
    assert "s of audio a second of wall time" in run("benchmark_data", *words)


def test_benchmark_engines(run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SECONDS", 1), ("HOPS", 2), ("ROUNDS", 1)):
        monkeypatch.setattr(benchmark_engines, name, value)
    lines = run("benchmark_engines", "--checkpoint", "denoise-tiny-16k").splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "file, ms a second",
        "live, ms a hop, 50 % are below",
        "live, ms a hop, 99 % are below",
        "live streams a core",
    ]


def test_benchmark_gru(run: Callable[..., str]) -> None:
    assert len(run("benchmark_gru", "--repeats", 1).splitlines()) == 5


@on_unix
def test_benchmark_batch(run: Callable[..., str]) -> None:
    assert "two jobs, by the clock" in run("benchmark_batch", "--files", 3, "--seconds", 1)


@on_unix
@pytest.mark.parametrize(("part", "said"), [("speed", "latency: algorithmic"), ("memory", "difference")])
def test_benchmark_pipeline(run: Callable[..., str], part: str, said: str) -> None:
    words = (
        "--checkpoint",
        named_checkpoints.resolve("denoise-tiny-16k"),
        "--seconds",
        1,
        "--hour",
        1,
        "--only",
        part,
    )
    assert said in run("benchmark_pipeline", *words)


def test_benchmark_scan(run: Callable[..., str]) -> None:
    assert "both" in run("benchmark_scan", "--seconds", 0.05)


@on_unix
def test_benchmark_startup(run: Callable[..., str], recording: Path) -> None:
    lines = run("benchmark_startup", recording, "--runs", 1).splitlines()
    assert len(lines) == 7
    assert lines[-1].startswith("| `audiotool denoise` |")
    assert "2.2 times: " in lines[-1]


def test_profile_graph(run: Callable[..., str]) -> None:
    out = run("profile_graph", "--checkpoint", "denoise-tiny-16k", "--seconds", 2)
    assert out.startswith("| operator |")
    assert "| GRU |" in out
    assert "| If |" not in out, "an If's time is that of its branch, which is listed"
    assert "GFLOP/s: graph" in out


def test_benchmark_streaming(run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_streaming, "TURNS", 1)
    monkeypatch.setattr(benchmark_streaming, "LIVE_RATES", (16000,))
    out = run("benchmark_streaming", "--checkpoint", "denoise-tiny-16k", "--seconds", 1)
    assert "live: declared and greatest observed lag" in out
    declared, observed = (float(word) for word in out.split("16000 Hz  ")[-1].split()[:2])
    assert observed <= declared + 0.1


def test_benchmark_caches(run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = benchmark_caches.waveflow_caches
    monkeypatch.setattr(benchmark_caches, "waveflow_caches", lambda rows, seconds: found(8, 0.02))
    monkeypatch.setattr(benchmark_caches, "wavenet_caches", lambda: iter(()))
    rows = [line.split("|") for line in run("benchmark_caches").splitlines()[2:]]
    assert len(rows) == 4
    assert all(float(row[6]) < 1e-4 for row in rows)


@on_unix
def test_benchmark_streams(run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark_streams.HOPS", 25)
    out = run("benchmark_streams", "--model", "denoise-tiny-16k", "--streams", 2)
    assert "2 streams" in out


@on_unix
def test_measure_report(run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("measure_report.MODES", (None, "none"))
    lines = run("measure_report", "--files", 1, "--seconds", 1).splitlines()
    assert [line.split()[0] for line in lines] == ["report", "without", "none"]


def test_bundle_checkpoint(
    run: Callable[..., str], denoiser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, data = tmp_path / "bundled", tmp_path / "data"
    folder.mkdir()
    data.symlink_to(AUDIO)
    found = named_checkpoints.bundled_root
    monkeypatch.setattr(
        named_checkpoints, "bundled_root", lambda w: folder if w == "checkpoints" else found(w)
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    short = ["data.speech=[manifest.csv]", "data.noise=[manifest.csv]", "data.rir=[manifest.csv]"]
    short += ["data.splits.test=[train]", "validation.seconds=1", f"data.cache={tmp_path / 'decoded'}"]

    def here(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        words = words[3:] + ([x for s in short for x in ("--set", s)] if words[3] == "data" else [])
        result = run_command(*words)
        assert result.exit_code == 0, result.output
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(subprocess, "run", here)
    exported: list[Path] = []

    def export(path: Path, to: Path, **_: Any) -> tuple[None, SimpleNamespace]:
        """tests/exporting writes graphs."""
        exported.append(to)
        return None, SimpleNamespace(worst=0.0)

    monkeypatch.setattr(update_manifest, "export", export)
    words = (denoiser, "--name", "mine", "--data", data, "--recipe", "denoise", "--count", 1)
    assert "test, 1 files" in run("bundle_checkpoint", *words)
    assert {path.name for path in folder.iterdir()} == {
        "mine.safetensors",
        "mine.md",
        named_checkpoints.MANIFEST,
    }
    assert exported == [folder / "mine.onnx"]
    metadata = checkpoint.read_metadata(folder / "mine.safetensors")
    assert metadata.metrics["test, 1 files"].keys() >= {"stoi", "si_sdr"}
    assert bundle_checkpoint.commands("mine", "denoise", "denoise", 1, 0) == metadata.commands


def test_bundled_files_stay_where_there_is_no_data(
    run: Callable[..., str], denoiser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_checkpoints, "bundled_root", lambda what: tmp_path)
    for ending in ("safetensors", "onnx", "json", "md"):
        (tmp_path / f"mine.{ending}").write_text(ending)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def without_data(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert words[3:5] == ["data", "mix"]
        return subprocess.CompletedProcess(words, 2)

    monkeypatch.setattr(subprocess, "run", without_data)
    words = ("--name", "mine", "--data", tmp_path / "nosuch")
    with pytest.raises(SystemExit) as ended:
        run("bundle_checkpoint", denoiser, *words, "--recipe", "denoise")
    assert ended.value.code == 2
    with pytest.raises(SystemExit):
        run("bundle_checkpoint", denoiser, *words)  # the checkpoint names no recipe
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_update_manifest_refuses_a_name_that_is_not_there(
    run: Callable[..., str], tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_checkpoints, "bundled_root", lambda what: tmp_path)
    (tmp_path / "tiny.safetensors").write_bytes(tiny_checkpoint.read_bytes())
    with pytest.raises(CheckpointError, match=r"no checkpoint 'tiney' in .*'tiny'"):
        run("update_manifest", "tiney")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.safetensors"]


def test_update_manifest_makes_nothing_again(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(named_checkpoints, "bundled_root", lambda what: tmp_path)
    (tmp_path / "tiny.safetensors").write_bytes(tiny_checkpoint.read_bytes())
    monkeypatch.setattr(update_manifest, "has_graph", lambda path: True)
    update_manifest.update()
    assert "tiny.md" in capsys.readouterr().out
    assert (tmp_path / named_checkpoints.MANIFEST).read_text().split()[1] == "tiny.safetensors"


def test_check_coverage(run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def file(lines: int, branches: int) -> dict[str, Any]:
        summary = {"covered_lines": lines, "num_statements": 10}
        return {"summary": {**summary, "covered_branches": branches, "num_branches": 10}}

    files = {
        "audiotool/text.py": file(10, 10),
        "audiotool/dsp/a.py": file(9, 6),
        "audiotool/dsp/b.py": file(5, 0),
    }
    report = tmp_path / "coverage.json"
    report.write_text(json.dumps({"files": files}))
    floors = (
        ({"": 90, "dsp": 50}, 0),
        ({"": 90, "dsp": 51}, 1),
        ({"dsp": 50}, 1),
        ({"": 90, "dsp": 50, "x": 1}, 1),
    )
    for held_to, code in floors:
        monkeypatch.setattr(check_coverage, "FLOORS", held_to)
        with pytest.raises(SystemExit) as ended:
            run("check_coverage", report)
        assert ended.value.code == code
    assert check_coverage.by_package(report) == {"": 100.0, "dsp": 50.0}
    for text in ("no JSON", "[]", '{"files": {"audiotool/text.py": {}}}'):
        report.write_text(text)
        with pytest.raises(InputError, match=r"coverage\.json: not a report of coverage"):
            run("check_coverage", report)


def test_every_package_has_a_floor() -> None:
    folders = {path.parent.name for path in (ROOT / "audiotool").glob("*/__init__.py")}
    assert folders | {""} == check_coverage.FLOORS.keys()


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


def test_fuzz(run: Callable[..., str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("fuzz", "--kind", "manifests", "--seconds", 0.1, "--limit", PATIENCE)
    assert ended.value.code == 0


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
    lags = [int(n) for n in re.findall(r"lags by at most (\d+) samples", out)]
    assert 4000 < lags[0] < 4000 + 512
    assert max(lags[1:]) <= 511
    assert out.count("of live.feed") == 4


def test_measure_chunks(run: Callable[..., str], recording: Path) -> None:
    out = run("measure_chunks", "denoise-tiny-16k", recording, recording, "--chunks", 0.1, 0.2)
    found = re.findall(r"chunks of 0\.\d s, 2 recordings: (\S+) of the peak in the median, (\S+) in", out)
    assert len(found) == 2
    assert all(median == worst and 0 <= float(worst) < 1e-5 for median, worst in found)


def test_measure_overlap_add(run: Callable[..., str], denoiser: Path, recording: Path) -> None:
    assert "difference" in run("measure_overlap_add", denoiser, recording, "--segment", 0.5, "--overlap", 0.1)


def test_write_model_table(run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_model_table, "PUBLISHED", tmp_path / "published.json")
    monkeypatch.setattr(MODELS, "builtin", lambda: {"gtcrn": MODELS.get("gtcrn")})
    out = run("write_model_table", "--output", tmp_path / "models.md")
    assert "| `gtcrn` |" in out
    assert "| `gtcrn` |" in (tmp_path / "models.md").read_text()
    first = (tmp_path / "published.json").read_text()
    assert '"model": "gtcrn"' in first
    assert run("write_model_table", "--output", tmp_path / "models.md", "--missing") == ""
    assert (tmp_path / "published.json").read_text() == first
