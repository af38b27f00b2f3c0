"""The examples give the same samples as audiotool, where what they need is at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.patience import PATIENCE

import audiotool
from audiotool import checkpoint

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
    model = checkpoint.default_for("denoise").with_suffix("")
    words = ["node", str(script), str(model), str(tmp_path / "in.f32"), str(tmp_path / "out.f32")]
    subprocess.run(words, check=True, cwd=tmp_path, timeout=PATIENCE)
    found = np.frombuffer((tmp_path / "out.f32").read_bytes(), np.float32)
    expected = audiotool.load("denoise", warm_up=False)(noisy, rate)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-5
