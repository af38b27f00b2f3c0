"""The overhead of a batch beside its network: workers, files, memory.

    python scripts/benchmark_batch.py [--files 200] [--seconds 5]

Denoises a folder of short recordings with one job and with two, by two commands of half the files each, and
one recording as long as all of them. Prints

- how much faster two jobs are, by the clock; and two commands beside each other, which share nothing: no
  batch can do better on this machine, with what else runs on it;
- how much faster they would be with two idle cores: the processor time of one job over that of the parent and
  of the workers' start, which nothing runs beside, and half of all that follows;
- how long a worker is without work between two files, with the next one handed to it ahead and without: what
  the parent needs, and on a busy machine until it has a core;
- what a file costs more than its share of the long recording: opening, planning, writing, reporting;
- the greatest memory of a worker that it shares with nobody.

Processes are read from /proc: Linux only.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from bars import at_least, at_most
from plain_errors import run_script

from audiotool.batch import pool
from audiotool.batch.plan import Layout, make_plan
from audiotool.batch.watch import SilentWatcher
from audiotool.batch.work import Work
from audiotool.files.processor import Process
from audiotool.tasks.inference import Inference

RATE = 16000
RUNS = 3
"""Times that what is measured by the clock is repeated, in turn; medians count."""
TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100

ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
"""Modules are compiled once, as those of an installed package are."""


@dataclass
class Cost:
    """The cost of a command and the processes below it.

    Args:
        processor: seconds of each process, the command's own first.
        alone: processor seconds of the command and of what workers are forked from, until workers begin.
        memory: MB, the greatest of a worker's own.
    """

    processor: dict[int, float] = field(default_factory=dict)
    alone: float = 0.0
    memory: float = 0.0

    @property
    def total(self) -> float:
        """Processor seconds of all processes."""
        return sum(self.processor.values())

    @property
    def on_two_cores(self) -> float:
        """Seconds on two cores where nothing else runs."""
        return self.alone + (self.total - self.alone) / 2


def command(source: Path, output: Path, jobs: int, *more: str) -> list[str]:
    """Denoise."""
    words = [
        sys.executable,
        "-m",
        "audiotool",
        "denoise",
        str(source),
        "-o",
        str(output),
        "--overwrite",
        "-q",
    ]
    return [*words, "--jobs", str(jobs), *more]


def measure(words: list[str]) -> Cost:
    """Run a command and watch its workers, which takes some of a core's time from them."""
    cost = Cost()
    process = subprocess.Popen(words, env=ENVIRONMENT)
    while True:
        found, status, usage = os.wait4(process.pid, os.WNOHANG)
        if found:
            break
        _watch(process.pid, cost)
        time.sleep(0.02)
    if status:
        sys.exit("the command failed")
    cost.processor[process.pid] = usage.ru_utime + usage.ru_stime
    return cost


def beside(commands: list[list[str]]) -> float:
    """Seconds until all of these commands, begun at once, have ended."""
    began = time.monotonic()
    processes = [subprocess.Popen(words, env=ENVIRONMENT) for words in commands]
    statuses = [process.wait() for process in processes]
    if any(statuses):
        sys.exit("the command failed")
    return time.monotonic() - began


@dataclass(frozen=True)
class Clocked(Inference):
    """Denoiser that notes when each file begins and ends, in a file a worker below `notes`."""

    notes: Path = Path()

    def open(self, threads: int | None = None) -> Process:
        process, notes = super().open(threads), (self.notes / str(os.getpid())).open("a", buffering=1)

        def clocked(*arguments: Any) -> Any:
            began = time.monotonic()
            result = process(*arguments)
            notes.write(f"{began} {time.monotonic()}\n")
            return result

        return clocked


def gap(source: Path, place: Path, ahead: bool) -> float:
    """Mean milliseconds from the end of a file to the beginning of the next, in two workers."""
    place.mkdir()
    pool.SHORT_SECONDS = math.inf if ahead else 0.0
    plan = make_plan([str(source)], Layout(output=str(place / "out")))
    workers = pool.Pool(Work(Clocked("denoise", notes=place)), 2, SilentWatcher())
    if any(outcome.status != "done" for outcome in workers.run(plan.jobs)):
        sys.exit("a file failed")
    gaps = []
    for notes in place.iterdir():
        if notes.is_file():
            times = np.array(notes.read_text().split(), float).reshape(-1, 2)
            gaps += list(times[1:, 0] - times[:-1, 1])
    return 1000 * float(np.mean(gaps))


def _watch(parent: int, cost: Cost) -> None:
    """Note what the processes have cost so far. Workers are those below the fork server."""
    cost.processor[parent] = _seconds(parent)
    helpers = _children(parent)
    workers = [worker for helper in helpers for worker in _children(helper)]
    if not workers and not cost.alone:
        cost.processor.update((helper, _seconds(helper)) for helper in helpers)
    elif not cost.alone:
        cost.alone = cost.total
    for worker in workers:
        cost.processor[worker] = max(_seconds(worker), cost.processor.get(worker, 0.0))
        rollup = _text(Path(f"/proc/{worker}/smaps_rollup")).splitlines()
        own = sum(int(line.split()[1]) for line in rollup if line.startswith("Private"))
        cost.memory = max(cost.memory, own / 1000)


def _children(parent: int) -> list[int]:
    tasks = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(child) for task in tasks for child in _text(task).split()]


def _seconds(process: int) -> float:
    """Processor time of a process so far; 0 where it has ended."""
    fields = _text(Path(f"/proc/{process}/stat")).rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK if len(fields) > 12 else 0.0


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
    if options.files < 3:
        parser.error("of fewer than three files no worker may have two, between which it waits")
    length = round(options.seconds * RATE)
    rng = np.random.default_rng(0)
    sound = 0.1 * rng.standard_normal((options.files, length), np.float32)
    with tempfile.TemporaryDirectory() as place:
        folder, long = Path(place, "in"), Path(place, "long.wav")
        folder.mkdir()
        for n, samples in enumerate(sound):
            soundfile.write(folder / f"{n:04}.wav", samples, RATE)
        soundfile.write(long, sound.reshape(-1), RATE)
        halves = [Path(place, "half0"), Path(place, "half1")]
        for n, file in enumerate(sorted(folder.iterdir())):
            halves[n % 2].mkdir(exist_ok=True)
            (halves[n % 2] / file.name).hardlink_to(file)
        # A warm-up is a file's own, and part of its network.
        whole = measure(command(long, Path(place, "long-out.wav"), 1, "--no-warm-up"))
        parts = measure(command(folder, Path(place, "out0"), 1, "--no-warm-up"))
        one, two = (measure(command(folder, Path(place, f"out{jobs}"), jobs)) for jobs in (1, 2))
        gaps = [gap(folder, Path(place, f"gaps{ahead:d}"), ahead) for ahead in (True, False)]
        commands = [
            [command(folder, Path(place, "out1"), 1)],
            [command(folder, Path(place, "out2"), 2)],
            [command(half, Path(place, f"{half.name}-out"), 1) for half in halves],
        ]
        alone, together, apart = np.median([[beside(words) for words in commands] for _ in range(RUNS)], 0)
    overhead = 1000 * (parts.total - whole.total) / options.files
    print(f"{options.files} files of {options.seconds:g} s; processor time of one job {one.total:.2f} s")
    print(f"two jobs, by the clock: {alone / together:.2f} times one {at_least(alone / together, 1.9)}")
    print(f"two commands of half the files, by the clock: {alone / apart:.2f} times one")
    faster = one.total / two.on_two_cores
    print(f"two jobs, on two idle cores: {faster:.2f} times one")
    print(f"two jobs' processor time: {two.total:.2f} s, of which {two.alone:.2f} s before the workers begin")
    print(f"between two files a worker is without work for {gaps[0]:.2f} ms; {gaps[1]:.2f} without one ahead")
    print(f"overhead of a file: {overhead:.2f} ms {at_most(overhead, 5)}")
    print(f"a worker's own memory: {two.memory:.0f} MB {at_most(two.memory, 120)}")


if __name__ == "__main__":
    run_script(main)
