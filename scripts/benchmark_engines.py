"""Measure a checkpoint's graph against its PyTorch model on one core, as ratios.

    python scripts/benchmark_engines.py [--checkpoint denoise-16k]

Prints CPU time for a second of audio in one chunk of ten seconds, the best of several rounds, and for one
live hop, its median and its 99th percentile of all rounds, in which the engines take turns; and how many live
streams a core serves at the median.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from bars import at_least, at_most
from plain_errors import run_script

from audiotool import checkpoint, named_checkpoints
from audiotool.engines.base import Engine

SECONDS, HOPS, ROUNDS = 10, 200, 5
FILE, HOP, STREAMS = 1 / 1.3, 0.45, 15
"""Bars of the default's graph: share of PyTorch's time for a file and for a hop; streams of a core."""


def whole(engine: Engine, sound: np.ndarray) -> float:
    """CPU milliseconds that a second takes."""
    began = time.process_time()
    engine.process(sound)
    return 1000 * (time.process_time() - began) / SECONDS


def hops(engine: Engine, sound: np.ndarray) -> list[float]:
    """CPU milliseconds of each step of one hop, as a live stream takes them."""
    state, hop, found = engine.start(), engine.hop_length, []
    for n in range(HOPS):
        began = time.process_time()
        _, state = engine.step(sound[..., n * hop : (n + 1) * hop], state)
        found.append(1000 * (time.process_time() - began))
    return found


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", default="denoise-16k")
    path = named_checkpoints.resolve(parser.parse_args().checkpoint)
    torch.set_num_threads(1)
    engines = {name: checkpoint.open_engine(path, "cpu", name, 1)[0] for name in ("torch", "onnx")}
    graph = engines["onnx"]
    items = SECONDS * graph.sample_rate // graph.upsampling
    sound = 0.1 * np.random.default_rng(0).standard_normal((1, graph.input_channels, items), np.float32)
    for engine in engines.values():
        hops(engine, sound)
    files = {name: [whole(engine, sound) for _ in range(ROUNDS)] for name, engine in engines.items()}
    best = {name: min(found) for name, found in files.items()}
    print(f"file, ms a second: {times_of(best)} {at_most(ratio(best), FILE)}")
    steps: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            steps[name] += hops(engine, sound)
    for share in (50, 99):
        percentiles = {name: float(np.percentile(found, share)) for name, found in steps.items()}
        verdict = at_most(ratio(percentiles), HOP)
        print(f"live, ms a hop, {share} % are below: {times_of(percentiles)} {verdict}")
    hop_ms = 1000 * graph.hop_length * graph.upsampling / graph.sample_rate
    streams = hop_ms / float(np.median(steps["onnx"]))
    print(f"live streams a core: {streams:.0f} {at_least(streams, STREAMS)}")


def times_of(found: dict[str, float]) -> str:
    """Both, and their ratio."""
    return f"torch {found['torch']:.3f}, onnx {found['onnx']:.3f}, onnx / torch {ratio(found):.2f}"


def ratio(found: dict[str, float]) -> float:
    """The graph's share of PyTorch's time."""
    return found["onnx"] / found["torch"]


if __name__ == "__main__":
    run_script(main)
