"""Shares of a graph's operators in its processor time, and the arithmetic throughput of a core.

    python scripts/profile_graph.py [--checkpoint denoise-16k] [--seconds 30]

Runs the graph on one core as a file does, in pieces of a second, with onnxruntime's own profile of its
operators. GFLOP/s are of the multiply-adds that the graph's card counts, two operations each, beside numpy's
product of two matrices of 512 x 512, which is about as much as this core can do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from benchmark_operators import feed, kernel_times, run, session
from plain_errors import run_script

from audiotool import checkpoint, named_checkpoints
from audiotool.engines.card import Card

SIZE, PRODUCTS = 512, 20

ARITHMETIC = {"Conv", "ConvTranspose", "Einsum", "FusedMatMul", "GRU", "Gemm", "LSTM", "MatMul"}
"""Operators that the multiply-adds are in; the others move and change values one by one."""


def best_product() -> float:
    """GFLOP/s of numpy's product, the best of some."""
    a = np.ones((SIZE, SIZE), np.float32)
    times = []
    for _ in range(PRODUCTS):
        began = time.process_time()
        _ = a @ a
        times.append(time.process_time() - began)
    return 2e-9 * SIZE**3 / min(times)


def profile(graph: Path, card: Card, seconds: int) -> Counter[str]:
    """Microseconds by operator."""
    hops = round(card.sample_rate / card.upsampling / card.hop_length)
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        engine = session(graph, f"{folder}/profile")
        run(engine, feed(card, 1, hops), seconds)
        for operator, _, duration in kernel_times(engine):
            found[operator] += duration
    return found


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", default="denoise-16k")
    parser.add_argument("--seconds", type=int, default=30)
    options = parser.parse_args()
    graph = checkpoint.graph_of(named_checkpoints.resolve(options.checkpoint))
    if graph is None:
        parser.error(f"{options.checkpoint} has no graph")
    card = Card.read(graph.with_suffix(".json"))
    if card.macs_per_second is None:
        parser.error(f"the card of {options.checkpoint} does not count its multiply-adds")
    found = profile(graph, card, options.seconds)
    total = sum(found.values())
    print("| operator | share of the time, % |\n| --- | ---: |")
    for name, taken in found.most_common(12):
        print(f"| {name} | {100 * taken / total:.0f} |")
    arithmetic = sum(found[name] for name in ARITHMETIC)
    done = 2e-3 * card.macs_per_second * options.seconds
    print(f"\narithmetic takes {100 * arithmetic / total:.0f} % of the time")
    rates = f"graph {done / total:.0f}, its arithmetic {done / arithmetic:.0f}, numpy {best_product():.0f}"
    print(f"GFLOP/s: {rates}")


if __name__ == "__main__":
    run_script(main)
