"""Time and memory of each kind of attention against the length of the sequence.

    python scripts/benchmark_attention.py [--lengths 500 2000 8000] [--causal] [--device cuda]

One self-attention layer, forward only, one thread; on a CPU its processor time counts. Memory is what the
call adds at its peak, weights and input not counted; on a CPU it is read from Linux's /proc.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from plain_errors import run_script

from audiotool.models.layers.attention import KINDS, SelfAttention


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[250, 500, 1000, 2000, 4000])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--causal", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)

    print(f"{'causal ' if options.causal else ''}self-attention, {options.heads} heads of", end=" ")
    print(f"{options.dim // options.heads}, batch {options.batch}, window {options.window}, {options.device}")
    print(f"{'kind':<18}" + "".join(f"{length:>18}" for length in options.lengths), flush=True)
    for kind in KINDS:
        layer = SelfAttention(
            options.dim, options.heads, kind, options.window if kind == "windowed" else None, options.causal
        )
        layer = layer.eval().to(options.device)
        print(f"{kind:<18}", end="", flush=True)
        for length in options.lengths:
            x = torch.randn(options.batch, length, options.dim, device=options.device)
            seconds, added = measure(layer, x, options.repeats)
            cell = f"{1e3 * seconds:>7.1f} ms" + (f"{added / 2**20:>5.0f} MB" if added is not None else "")
            print(f"{cell:>18}", end="", flush=True)
        print(flush=True)


@torch.inference_mode()
def measure(layer: SelfAttention, x: torch.Tensor, repeats: int) -> tuple[float, int | None]:
    """Best seconds of some calls, and the bytes the first one added at its peak."""
    on_cpu = x.device.type == "cpu"
    before = reset_peak() if on_cpu else None
    if not on_cpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    layer(x)
    peak = read_status("VmHWM") if on_cpu else torch.cuda.max_memory_allocated()
    times = []
    clock = time.process_time if on_cpu else time.perf_counter
    for _ in range(repeats):
        start = clock()
        layer(x)
        if not on_cpu:
            torch.cuda.synchronize()
        times.append(clock() - start)
    return min(times), None if before is None or peak is None else max(peak - before, 0)


def reset_peak() -> int | None:
    """Set this process's peak memory to what it holds now, and return that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return read_status("VmRSS")


def read_status(key: str) -> int | None:
    """Bytes of an entry in /proc/self/status; None where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), None)


if __name__ == "__main__":
    run_script(main)
