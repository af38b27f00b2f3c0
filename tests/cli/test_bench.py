"""`audiotool bench`, as a user runs it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from kit.command import run_command, run_process

from audiotool import vocoder_benchmark
from audiotool.benchmark import Benchmark
from audiotool.cli.bench import rows


def bench(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return run_process("bench", *words)


def test_a_checkpoint_as_json(tiny_checkpoint: Path) -> None:
    done = bench("--checkpoint", tiny_checkpoint, "--seconds", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["name"] == "cleanunet"
    assert found["threads"] == 1
    assert found["step_ms"]["p50"] > 0
    assert found["macs_per_second"] > found["parameters"]


def test_a_table(tiny_checkpoint: Path) -> None:
    done = bench("--checkpoint", tiny_checkpoint, "--seconds", "1")
    assert done.returncode == 0, done.stderr
    assert "x real time over 1 s" in done.stdout
    assert "cleanunet, 16000 Hz" in done.stdout


def test_a_task_is_its_default() -> None:
    for task, name in (("super-resolve", "super-resolve-48k"), ("denoise", "denoise-16k")):
        done = bench("--model", task, "--seconds", "1", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["checkpoint"] == name


def test_models_that_look_ahead_have_segments_and_no_latency() -> None:
    facts: dict[str, Any] = {f.name: None for f in dataclasses.fields(Benchmark)}
    numbers = dict.fromkeys(("parameters", "macs_per_second", "real_time_factor", "seconds", "threads"), 1)
    lines = dict(rows(Benchmark(**{**facts, **numbers, "causal": False, "latency": 800, "latency_ms": 50.0})))
    assert lines["latency"] == "unbounded; segments of 800 samples, 50.0 ms"
    assert "looks ahead" in lines["live steps"]


def test_bad_options(tiny_checkpoint: Path) -> None:
    both = bench("--checkpoint", tiny_checkpoint, "--model", "cleanunet")
    assert both.returncode == 2
    assert "exclude each other" in both.stderr
    unknown = bench("--model", "cleanunit")
    assert unknown.returncode == 2
    assert "did you mean 'cleanunet'" in unknown.stderr


def test_vocoders_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"hifigan", "vocos", "wavenet"} <= set(vocoder_benchmark.vocoders())
    monkeypatch.setattr(vocoder_benchmark, "vocoders", lambda: ["harmonic-vocoder", "nsf"])
    table = run_command("bench", "--vocoders", "--seconds", "1").output.splitlines()
    assert " ".join(table[0].split()) == "vocoder Hz weights MAC/s x real time latency streams by"
    assert table[1].split()[:2] == ["harmonic-vocoder", "22050"]
    assert table[2].split()[-1] == "state"
    found = run_command("bench", "--vocoders", "--seconds", "1", "--json").output
    row = json.loads(found)["vocoders"][1]
    assert row["name"] == "nsf"
    assert row["real_time_factor"] > 0
    assert row["latency_ms"] == pytest.approx(765, abs=1)


def test_vocoders_and_a_model_exclude_each_other() -> None:
    result = run_command("bench", "--vocoders", "--model", "denoise")
    assert result.exit_code == 2
    assert "exclude each other" in result.output
