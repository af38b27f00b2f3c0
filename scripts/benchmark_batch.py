"""What a batch costs beside its network: workers, files, memory.

    python scripts/benchmark_batch.py [--files 200] [--seconds 5]

Denoises a folder of short recordings with one job and with two, and one recording as long as all of them.
Prints

- how much faster two jobs are, as measured, and as they would be with two idle cores: the processor time of
  one job over that of the busiest worker and the parent, which work beside each other;
- what a file costs more than its share of the long recording: opening, planning, writing, reporting;
- the greatest memory of a worker that it shares with nobody (Linux).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100  # only Linux has /proc


@dataclass
class Cost:
    """Of a command and its workers.

    Args:
        wall, processor: seconds.
        workers: processor seconds of each worker, by its process.
        memory: MB, the greatest of a worker's own.
    """

    wall: float = 0.0
    processor: float = 0.0
    workers: dict[int, float] = field(default_factory=dict)
    memory: float = 0.0

    @property
    def longest(self) -> float:
        """Processor seconds of the busiest worker and of the parent."""
        return max(self.workers.values(), default=0.0) + self.processor - sum(self.workers.values())


def measure(source: Path, output: Path, jobs: int, *more: str) -> Cost:
    """Denoise, watching the workers."""
    words = ["-m", "audiotool", "denoise", str(source), "-o", str(output), "--overwrite", "-q", *more]
    cost, began = Cost(), time.monotonic()
    process = subprocess.Popen([sys.executable, *words, "--jobs", str(jobs)])
    while True:
        found, status, usage = os.wait4(process.pid, os.WNOHANG)
        if found:
            break
        _watch(process.pid, cost)
        time.sleep(0.02)
    if status:
        sys.exit("the command failed")
    cost.wall, cost.processor = time.monotonic() - began, usage.ru_utime + usage.ru_stime
    return cost


def _watch(parent: int, cost: Cost) -> None:
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        for child in _text(task).split():
            if "spawn_main" not in _text(Path(f"/proc/{child}/cmdline")):
                continue
            fields = _text(Path(f"/proc/{child}/stat")).rpartition(")")[2].split()
            if len(fields) > 12:
                cost.workers[int(child)] = (int(fields[11]) + int(fields[12])) / TICK
            rollup = _text(Path(f"/proc/{child}/smaps_rollup")).splitlines()
            own = sum(int(line.split()[1]) for line in rollup if line.startswith("Private"))
            cost.memory = max(cost.memory, own / 1000)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    length = round(options.seconds * RATE)
    rng = np.random.default_rng(0)
    sound = 0.1 * rng.standard_normal((options.files, length), np.float32)
    with tempfile.TemporaryDirectory() as place:
        folder, long = Path(place, "in"), Path(place, "long.wav")
        folder.mkdir()
        for n, samples in enumerate(sound):
            soundfile.write(folder / f"{n:04}.wav", samples, RATE)
        soundfile.write(long, sound.reshape(-1), RATE)
        # A warm-up is a file's own, and part of its network.
        whole = measure(long, Path(place, "long-out.wav"), 1, "--no-warm-up")
        parts = measure(folder, Path(place, "out0"), 1, "--no-warm-up")
        one, two = (measure(folder, Path(place, f"out{jobs}"), jobs) for jobs in (1, 2))
    overhead = 1000 * (parts.processor - whole.processor) / options.files
    print(f"{options.files} files of {options.seconds:g} s; processor time of one job {one.processor:.2f} s")
    print(f"two jobs, as measured: {one.wall / two.wall:.2f} times one")
    print(f"two jobs, on two idle cores: {one.processor / two.longest:.2f} times one")
    print(f"overhead of a file: {overhead:.2f} ms")
    print(f"a worker's own memory: {two.memory:.0f} MB")


if __name__ == "__main__":
    main()
