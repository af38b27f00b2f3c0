"""Measure a checkpoint's graph against its PyTorch model on one core, as ratios.

    python scripts/benchmark_engines.py [--checkpoint denoise-16k]

Prints CPU time for a second of audio in chunks of ten seconds, and for one live hop, of both engines; the
best of several rounds, in which the two take turns.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable

import numpy as np
import torch

from audiotool import checkpoint
from audiotool.engines.base import Engine

SECONDS, HOPS, ROUNDS = 10, 200, 5


def cpu(action: Callable[[], object]) -> float:
    """CPU seconds that a call takes."""
    began = time.process_time()
    action()
    return time.process_time() - began


def whole(engine: Engine, sound: np.ndarray) -> None:
    """One chunk."""
    engine.process(sound)


def hops(engine: Engine, sound: np.ndarray) -> None:
    """One step a hop, as a live stream takes them."""
    state, hop = engine.start(), engine.hop_length
    for n in range(HOPS):
        _, state = engine.step(sound[..., n * hop : (n + 1) * hop], state)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", default="denoise-16k")
    path = checkpoint.resolve(parser.parse_args().checkpoint)
    torch.set_num_threads(1)
    engines = {name: checkpoint.open_engine(path, "cpu", name, 1)[0] for name in ("torch", "onnx")}
    rate = engines["onnx"].sample_rate
    sound = 0.1 * np.random.default_rng(0).standard_normal((1, 1, SECONDS * rate), np.float32)
    for engine in engines.values():
        engine.prepare(1, 1, engine.hop_length)
    for label, action, per in (("file, ms a second", whole, SECONDS), ("live, ms a hop", hops, HOPS)):
        best = dict.fromkeys(engines, float("inf"))
        for _ in range(ROUNDS):
            for name, engine in engines.items():
                best[name] = min(best[name], 1000 * cpu(functools.partial(action, engine, sound)) / per)
        ratio = best["onnx"] / best["torch"]
        print(f"{label}: torch {best['torch']:.3f}, onnx {best['onnx']:.3f}, onnx / torch {ratio:.2f}")


if __name__ == "__main__":
    main()
