"""Hold released weights of other projects to their official outputs.

    python scripts/check_released.py [--packs ../shared/released]

Prints a Markdown table of the root mean square of the difference, relative to the official output, of each
model and input. `compare_peers.py` scores them, and measures what DeepFilterNet3 costs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from plain_errors import run_script

from audiotool.importers.base import import_checkpoint

PACKS = Path(__file__).parents[2] / "shared" / "released"

MODELS = {
    "deepfilternet3": ("DeepFilterNet3_onnx.tar.gz", "deepfilternet3", "y"),
    "dtln": ("model_1.onnx", "dtln", "y"),
    "fastenhancer_t": ("fastenhancer_t.onnx", "fastenhancer", "y"),
    "fastenhancer_b": ("fastenhancer_b.onnx", "fastenhancer", "y"),
    "fastenhancer_s": ("fastenhancer_s.onnx", "fastenhancer", "y"),
    "fastenhancer_m": ("fastenhancer_m.onnx", "fastenhancer", "y"),
    "gtcrn": ("model_trained_on_dns3.tar", "gtcrn", "y.dns3"),
}
"""By folder: file, architecture, and what the official outputs' names begin with."""

LATE = {"deepfilternet3": 1440, "dtln": 384}
"""Samples by which official outputs are late; the others' are aligned."""


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--packs", type=Path, default=PACKS, help="folder with a folder a model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| model | weights | s0 | s5 | s10 |\n| --- | --- | --- | --- | --- |")
    for folder in MODELS:
        if (options.packs / folder).is_dir():
            print(row(folder, options.packs), flush=True)


def row(folder: str, packs: Path) -> str:
    """Return the line of a model's errors."""
    file, name, prefix = MODELS[folder]
    model, _ = import_checkpoint(packs / folder / file, name)
    with np.load(packs / folder / "io.npz") as outputs, np.load(packs / "inputs_16k.npz") as shared:
        inputs = outputs if "x.s0" in outputs else shared
        cells = []
        for key in ("s0", "s5", "s10"):
            x, official = inputs[f"x.{key}"], outputs[f"{prefix}.{key}"]
            with torch.inference_mode():
                y = model.process(torch.from_numpy(x)[None, None])[0, 0].numpy()
            cells.append(f"{error(y, official, folder):.1e}")
    return f"| {folder} | {model.parameter_count:,} | {' | '.join(cells)} |"


def error(y: np.ndarray, official: np.ndarray, folder: str) -> float:
    """Root mean square of the difference over what both have, relative to the official output's."""
    official = official[LATE.get(folder, 0) :]
    if folder == "dtln":
        # The official script writes zeros for what fills no block.
        official = official[: len(official) - LATE[folder] - (len(official) + LATE[folder]) % 128]
    length = min(len(y), len(official))
    difference = y[:length] - official[:length]
    return float(np.sqrt(np.mean(difference**2) / np.mean(official[:length] ** 2)))


if __name__ == "__main__":
    run_script(main)
