"""`audiotool train` and `audiotool recipes`, as they are typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

AUDIO = Path(__file__).parents[1] / "data" / "audio"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "audiotool", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    values = {
        "task": "denoise",
        "model": {
            "name": "cleanunet",
            "config": {
                "channels_h": 4,
                "max_channels": 8,
                "n_layers": 3,
                "transformer_layers": 1,
                "transformer_heads": 2,
                "transformer_dim": 16,
                "transformer_inner_dim": 32,
            },
        },
        "audio": {"sample_rate": 16000, "segment_seconds": 0.25},
        "data": {"speech": ["manifest.csv"], "noise": ["manifest.csv"], "cache": str(tmp_path / "cache")},
        "loss": [{"name": "l1-waveform"}],
        "train": {"steps": 4, "batch_size": 2},
        "validation": {"count": 1, "metrics": []},
        "logging": {"every": 2},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_train_with_a_loader_process_then_denoise(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = ["train", small, "--run", folder, "--set", f"data.root={AUDIO}"]
    done = run(*words, "--device", "cpu", "--threads", "1")
    assert done.returncode == 0, done.stderr
    checkpoint = folder / "small.safetensors"
    assert done.stdout.split() == [str(checkpoint)]
    assert "step 4/4 loss=" in done.stderr
    assert "validation at step 4 loss=" in done.stderr
    assert "4 of 4 steps" in done.stderr
    assert (folder / "recipe.yaml").is_file()
    again = run(*words)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    tuned = run(
        *(*words[:3], tmp_path / "tuned", *words[4:], "--init-from", checkpoint),
        *("--set", "train.steps=1", "--set", "freeze=['encoder.*']"),
    )
    assert tuned.returncode == 0, tuned.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "train.bach_size=1"], "train.bach_size: unknown key; did you mean 'batch_size'?"),
        (["--set", "data.root=/nowhere"], "data.speech[0]: no manifest or folder 'manifest.csv'"),
        (["--set", f"data.root={AUDIO}", "--device", "cuda:7"], "there is no device 'cuda:7'"),
        (["--set", f"data.root={AUDIO}", "--init-from", "nothing.safetensors"], "no checkpoint 'nothing"),
    ],
)
def test_mistakes_are_one_line(small: Path, tmp_path: Path, words: list[str], message: str) -> None:
    done = run("train", small, "--run", tmp_path / "run", *words)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_recipes_list_show_validate_losses(small: Path) -> None:
    listed = run("recipes", "list")
    assert "cleanunet-small" in listed.stdout
    assert run("recipes", "show", small).stdout == small.read_text()
    resolved = yaml.safe_load(run("recipes", "show", small, "--set", "train.steps=9").stdout)
    assert resolved["train"]["steps"] == 9
    assert resolved["train"]["precision"] == "fp32"
    valid = run("recipes", "validate", small, "cleanunet")
    assert "46,071,937 parameters" in valid.stdout
    assert valid.returncode == 0
    missing = run("recipes", "validate", "cleanunet", "--data", "--set", "data.root=/nowhere")
    assert missing.returncode == 2
    assert "data.speech[0]" in missing.stderr
    assert "multi-resolution-stft: " in run("recipes", "losses").stdout
