"""Time MambAttention's selective scan against the same recurrence as a loop over its steps.

    python scripts/benchmark_scan.py [--seconds 4] [--device cuda] [--gradients] [--repeats 1]

The shapes are those of the published network: along time, one sequence a frequency bin; along frequency, one
a frame. The loop is the reference form: all factors at once, then one Python step a time step. One thread; on
a CPU its processor time counts, so that other programs on the machine show little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from plain_errors import run_script
from torch import Tensor

from audiotool.models.layers.selective_scan import selective_scan
from audiotool.models.mambattention import MambAttentionConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=1, help="of the loop; three times as many of the scan")
    parser.add_argument("--gradients", action="store_true", help="forward and backward")
    options = parser.parse_args()
    torch.set_num_threads(1)

    c = MambAttentionConfig()
    frames = round(options.seconds * c.sample_rate) // c.hop_length + 1
    bins = (c.n_fft // 2 + 1 - 3) // 2 + 1
    features = c.expand * c.hid_feature
    print(
        f"{options.seconds:g} s of audio, {features} features of {c.d_state} states, {options.device},"
        f" {'forward and backward' if options.gradients else 'forward'}, one thread"
    )
    print(f"{'sequences x steps':<24}{'loop':>12}{'scan':>12}{'loop/scan':>11}{'difference':>14}", flush=True)
    totals = [0.0, 0.0]
    for rows, steps in ((bins, frames), (frames, bins)):
        torch.manual_seed(0)
        values = [
            torch.randn(rows, features, steps),
            F.softplus(torch.randn(rows, features, steps) - 3),
            -torch.arange(1.0, c.d_state + 1).repeat(features, 1),
            torch.randn(rows, c.d_state, steps),
            torch.randn(rows, c.d_state, steps),
        ]
        values = [v.to(options.device).requires_grad_(options.gradients) for v in values]
        (slow, reference), (fast, result) = (
            measure(run, values, repeats)
            for run, repeats in (
                (loop, options.repeats),
                (lambda *v: selective_scan(*v)[0], 3 * options.repeats),
            )
        )
        difference = max(
            float((a - b).abs().max() / b.abs().max()) for a, b in zip(result, reference, strict=True)
        )
        print(
            f"{f'{rows} x {steps}':<24}{slow:>10.3f} s{fast:>10.3f} s{slow / fast:>11.1f}{difference:>14.1e}",
            flush=True,
        )
        totals = [totals[0] + slow, totals[1] + fast]
    print(f"{'both':<24}{totals[0]:>10.3f} s{totals[1]:>10.3f} s{totals[0] / totals[1]:>11.1f}")


def loop(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The recurrence, one step at a time."""
    decay = torch.exp(torch.einsum("bdt,dn->bdtn", delta, A))
    drive = torch.einsum("bdt,bnt,bdt->bdtn", delta, B, u)
    state = torch.zeros_like(decay[:, :, 0])
    outputs = []
    # Unbound at once: the gradient of one slice after the other would fill a whole tensor for each.
    for a, x, c in zip(decay.unbind(2), drive.unbind(2), C.unbind(2), strict=True):
        state = a * state + x
        outputs.append(torch.einsum("bdn,bn->bd", state, c))
    return torch.stack(outputs, dim=-1)


def measure(
    run: Callable[..., Tensor], values: list[Tensor], repeats: int
) -> tuple[float, tuple[Tensor, ...]]:
    """Best seconds of some calls, and the output, with the gradients where they are asked for."""
    clock = time.perf_counter if values[0].is_cuda else time.process_time
    best = float("inf")
    results: tuple[Tensor, ...] = ()
    for _ in range(repeats):
        start = clock()
        y = run(*values)
        results = (y.detach(),)
        if y.requires_grad:
            results += torch.autograd.grad(y.sum(), values)
        if y.is_cuda:
            torch.cuda.synchronize()
        best = min(best, clock() - start)
        del y
    return best, results


if __name__ == "__main__":
    run_script(main)
