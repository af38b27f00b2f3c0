"""Every benchmark runs, on a second of sound and small networks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import benchmark_caches
import benchmark_engines
import benchmark_streaming
import pytest

from audiotool import extras, named_checkpoints

on_unix = pytest.mark.skipif(sys.platform == "win32", reason="it reads what child processes took by os.wait4")


def test_benchmark_precision(run: Callable[..., str]) -> None:
    small = ("model.config.dim=8", "model.config.layers=1", "audio.segment_seconds=0.5")
    options = [word for setting in small for word in ("--set", setting)]
    cells = run("benchmark_precision", "--steps", 1, *options).splitlines()[-1].split("|")
    assert cells[1].strip() == "denoise-broad"
    assert float(cells[5]) > 0.9


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
def test_benchmark_batch(run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark_batch.RUNS", 1)
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
