"""Time our GRU against nn.GRU, side by side, on one thread of a CPU.

    python scripts/benchmark_gru.py [--repeats 10]

Prints milliseconds of processor time and the ratio, for one direction with 40 features: shapes of training
(4 segments of 3 s in 32 bands) and of a file (5 s in 32 bands) of the band-split GRU.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from audiotool.models.layers.recurrent import GRU

FEATURES = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ours, torchs = GRU(FEATURES, FEATURES), nn.GRU(FEATURES, FEATURES)
    torchs.load_state_dict(ours.state_dict())
    print("| steps x sequences | pass | nn.GRU, ms | ours, ms | ratio |\n| --- | --- | ---: | ---: | ---: |")
    for steps, sequences, run in ((188, 128, train), (312, 32, infer)):
        x = torch.randn(steps, sequences, FEATURES)
        slow, fast = fastest([functools.partial(run, layer, x) for layer in (torchs, ours)], repeats)
        kind = "forward and backward" if run is train else "forward"
        print(f"| {steps} x {sequences} | {kind} | {slow:.1f} | {fast:.1f} | {fast / slow:.2f} |")


def train(layer: nn.GRU, x: Tensor) -> None:
    """Forward and backward of a loss."""
    layer(x.requires_grad_())[0].square().sum().backward()


def infer(layer: nn.GRU, x: Tensor) -> None:
    """Forward alone."""
    with torch.inference_mode():
        layer(x)


def fastest(runs: list[Callable[[], None]], repeats: int) -> list[float]:
    """Milliseconds of the best of some calls of each, taken in turn after two that warm up."""
    best = [float("inf")] * len(runs)
    for n in range(repeats + 2):
        for i, run in enumerate(runs):
            begin = time.process_time()
            run()
            if n >= 2:
                best[i] = min(best[i], 1000 * (time.process_time() - begin))
    return best


if __name__ == "__main__":
    main()
