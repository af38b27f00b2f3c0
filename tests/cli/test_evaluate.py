"""`audiotool evaluate`, as a user runs it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like

RATE = 16000


def evaluate(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "audiotool", "evaluate", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clean/, out/ and noisy/ with a spoken, a silent and a truncated file each."""
    root = tmp_path_factory.mktemp("evaluate")
    clean = speech_like(2.0, RATE)[0]
    noise = np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    for folder, amount in (("clean", 0.0), ("out", 0.01), ("noisy", 0.1)):
        (root / folder / "deep").mkdir(parents=True)
        soundfile.write(root / folder / "deep" / "spoken.wav", clean + amount * noise, RATE)
        soundfile.write(root / folder / "silent.wav", amount * noise, RATE)
    return root


def test_folders_give_a_table_a_report_and_reasons(folders: Path, tmp_path: Path) -> None:
    done = evaluate(
        *("--reference", folders / "clean", "--estimate", folders / "out", "--noisy", folders / "noisy"),
        *("--report", tmp_path / "report.json", "--jobs", "2"),
    )
    assert done.returncode == 0, done.stderr
    assert "deep/spoken" in done.stdout
    assert "→" in done.stdout
    assert "silent: no pesq" in done.stderr
    found = json.loads((tmp_path / "report.json").read_text())
    silent, spoken = sorted(found["files"], key=lambda f: f["file"], reverse=True)
    assert [silent["file"], spoken["file"]] == ["silent", "deep/spoken"]
    assert silent["stoi"] is None
    assert silent["reasons"]["stoi"] == "the reference is silent"
    assert spoken["si_sdr_improvement"] == pytest.approx(20, abs=1)
    assert found["summary"]["pesq"] == {"mean": spoken["pesq"], "scored": 1, "null": 1}


def test_single_files_chosen_metrics_json_and_csv(folders: Path, tmp_path: Path) -> None:
    done = evaluate(
        *("--reference", folders / "clean/deep/spoken.wav", "--estimate", folders / "out/deep/spoken.wav"),
        *("--metrics", "si_sdr,lsd", "--json", "--report", tmp_path / "report.csv"),
    )
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)["files"]
    assert set(row) == {"file", "si_sdr", "lsd", "estimate", "reference", "version", "reasons", "notes"}
    lines = list(csv.DictReader((tmp_path / "report.csv").read_text().splitlines()))
    assert float(lines[0]["lsd"]) == pytest.approx(row["lsd"], rel=1e-5)


def test_a_file_that_cannot_be_read_is_a_row_and_exit_code_1(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "silent.wav").write_bytes(b"RIFF")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "spoken.wav").write_bytes((folders / "out/deep/spoken.wav").read_bytes())
    done = evaluate("--reference", folders / "clean", "--estimate", tmp_path, "--metrics", "stoi", "--json")
    assert done.returncode == 1
    rows = {row["file"]: row for row in json.loads(done.stdout)["files"]}
    assert rows["deep/spoken"]["stoi"] > 0.5
    assert "cannot be read" in rows["silent"]["reasons"]["stoi"]
    assert "1 of 2 files could not be compared" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metrics", "pesk"], "did you mean 'pesq'"),
        (["--metrics", ","], "--metrics names none"),
        (["--task", "denoize"], "did you mean 'denoise'"),
        (["--report", "report.txt"], "a report ends in .json, .csv"),
        (["--noisy", "missing"], "no such file or folder"),
    ],
)
def test_bad_options_exit_2_before_any_work(folders: Path, words: list[str], message: str) -> None:
    done = evaluate("--reference", folders / "clean", "--estimate", folders / "out", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
