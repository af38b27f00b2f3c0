"""Time our GRU against nn.GRU, side by side, on one thread of a CPU.

    python scripts/benchmark_gru.py [--repeats 10]

Prints milliseconds of processor time and the ratio, for shapes of the band-split GRU: training (4 segments of
3 s in 32 bands of 40 features, and the memory of 128 features of 2 segments of 10 s), and a file (5 s in 32
bands). Training is compiled where there is a C++ compiler.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable

import torch
from plain_errors import run_script
from torch import Tensor, nn

from audiotool.models.layers.recurrent import GRU


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| steps x sequences x features | pass | nn.GRU, ms | ours, ms | ratio |")
    print("| --- | --- | ---: | ---: | ---: |")
    for steps, sequences, features, run in (
        (188, 128, 40, train),
        (625, 2, 128, train),
        (312, 32, 40, infer),
    ):
        ours, torchs = GRU(features, features), nn.GRU(features, features)
        torchs.load_state_dict(ours.state_dict())
        x = torch.randn(steps, sequences, features)
        slow, fast = fastest([functools.partial(run, layer, x) for layer in (torchs, ours)], repeats)
        kind = "forward and backward" if run is train else "forward"
        print(
            f"| {steps} x {sequences} x {features} | {kind} | {slow:.1f} | {fast:.1f} | {fast / slow:.2f} |"
        )


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
    run_script(main)
