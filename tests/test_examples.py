"""The examples give the same samples as audiotool, where what they need is at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.patience import PATIENCE

import audiotool
from audiotool import named_checkpoints

ROOT = Path(__file__).parents[1]
SECONDS = 3


def find_modules() -> Path | None:
    """The folder node_modules that holds onnxruntime-web: here, or where NODE_PATH says."""
    places = [
        ROOT / "examples" / "node_modules",
        *map(Path, os.environ.get("NODE_PATH", "").split(os.pathsep)),
    ]
    return next((place for place in places if (place / "onnxruntime-web").is_dir()), None)


@pytest.mark.skipif(
    shutil.which("node") is None or find_modules() is None, reason="needs node, onnxruntime-web"
)
def test_javascript_denoises_to_the_same_samples(tmp_path: Path) -> None:
    noisy, rate = soundfile.read(ROOT / "tests/data/audio/demo/noisy.flac", dtype="float32")
    noisy = noisy[: SECONDS * rate]
    modules = find_modules()
    assert modules is not None
    # Node looks for packages beside the script.
    (tmp_path / "node_modules").symlink_to(modules)
    script = Path(shutil.copy(ROOT / "examples" / "denoise.mjs", tmp_path))
    (tmp_path / "in.f32").write_bytes(noisy.tobytes())
    model = named_checkpoints.default_for("denoise").with_suffix(".onnx")
    words = ["node", str(script), str(model), str(tmp_path / "in.f32"), str(tmp_path / "out.f32")]
    subprocess.run(words, check=True, cwd=tmp_path, timeout=PATIENCE)
    found = np.frombuffer((tmp_path / "out.f32").read_bytes(), np.float32)
    expected = audiotool.load("denoise", warm_up=False)(noisy, rate)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-5


def words_of(model: Path) -> list[str]:
    """The example as a command, among whose packages audiotool and PyTorch are not."""
    hide = "import sys; sys.modules.update(dict.fromkeys(('audiotool', 'torch')));"
    script = f"{hide} import runpy; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    return [sys.executable, "-c", script, str(ROOT / "examples" / "denoise_onnx.py"), str(model)]


def test_python_denoises_to_the_same_samples_in_blocks(tmp_path: Path) -> None:
    noisy, rate = soundfile.read(ROOT / "tests/data/audio/demo/noisy.flac", dtype="float32")
    # The end lies inside a block.
    noisy = noisy[: SECONDS * rate + 1000]
    soundfile.write(tmp_path / "in.wav", noisy, rate, "FLOAT")
    words = words_of(named_checkpoints.default_for("denoise").with_suffix(".onnx"))
    subprocess.run([*words, "in.wav", "out.wav"], check=True, cwd=tmp_path, timeout=PATIENCE)
    found, found_rate = soundfile.read(tmp_path / "out.wav", dtype="float32")
    expected = audiotool.load("denoise", warm_up=False)(noisy, rate)
    assert (found_rate, found.shape) == (rate, expected.shape)
    assert np.abs(found - expected).max() < 1e-5
    soundfile.write(tmp_path / "in.wav", noisy, 8000)
    refused = subprocess.run([*words, "in.wav", "out.wav"], capture_output=True, cwd=tmp_path, text=True)
    assert (refused.returncode, refused.stderr) == (1, "in.wav: needs 16000 Hz and one channel\n")
    refused = subprocess.run(words, capture_output=True, cwd=tmp_path, text=True)
    usage = "usage: python denoise_onnx.py MODEL.onnx NOISY.wav DENOISED.wav\n"
    assert (refused.returncode, refused.stderr) == (1, usage)


def test_python_writes_all_stems_and_refuses_graphs_of_mels(tmp_path: Path) -> None:
    noisy, rate = soundfile.read(ROOT / "tests/data/audio/demo/noisy.flac", dtype="float32")
    soundfile.write(tmp_path / "in.wav", noisy[:rate], rate, "FLOAT")
    words = words_of(named_checkpoints.default_for("separate").with_suffix(""))
    subprocess.run([*words, "in.wav", "out.wav"], check=True, cwd=tmp_path, timeout=PATIENCE)
    found, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    expected = audiotool.load("separate", warm_up=False)(noisy[:rate], rate)
    assert found.T.shape == expected.shape == (2, rate)
    assert np.abs(found.T - expected).max() < 1e-5
    vocoder = named_checkpoints.default_for("vocode").with_suffix("")
    refused = subprocess.run(
        [*words_of(vocoder), "in.wav", "out.wav"], capture_output=True, cwd=tmp_path, text=True
    )
    assert (refused.returncode, refused.stderr) == (1, f"{vocoder}: the graph takes no mono waveform\n")


def test_the_bare_graph_differs_from_the_first_onset_on_as_the_guide_says(tmp_path: Path) -> None:
    noisy, rate = soundfile.read(ROOT / "tests/data/audio/demo/noisy.flac", dtype="float32")
    hiss = np.random.default_rng(0).normal(0, 1e-3, 2 * rate).astype(np.float32)
    noisy = np.concatenate((hiss, noisy))
    soundfile.write(tmp_path / "in.wav", noisy, rate, "FLOAT")
    words = words_of(named_checkpoints.default_for("denoise").with_suffix(""))
    subprocess.run([*words, "in.wav", "out.wav"], check=True, cwd=tmp_path, timeout=PATIENCE)
    found, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    expected = audiotool.load("denoise", warm_up=False)(noisy, rate)
    before = len(hiss) - rate // 20
    assert np.abs(found - expected)[:before].max() < 1e-5
    differs = 20 * np.log10(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    told = " ".join((ROOT / "docs/guides/python.md").read_text("utf-8").split())
    assert f"the outputs differ by {differs:.0f} dB" in told
