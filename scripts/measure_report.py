"""What an HTML report costs a batch: processor time, memory, size; sound embedded, linked and left out.

    python scripts/measure_report.py --files 200 --seconds 5

The same batch is run without a report and with each; processor time is that of the command and its workers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

DEMO = Path(__file__).parents[1] / "tests/data/audio/demo/noisy.flac"
MODES = (None, "none", "link", "embed")


def make_inputs(folder: Path, count: int, seconds: float) -> None:
    """Cut files of a length out of the demo's recording, repeated."""
    waveform, rate = soundfile.read(DEMO, dtype="float32")
    length = round(seconds * rate)
    for n in range(count):
        cut = np.roll(np.resize(waveform, length + n * 997), -n * 997)[:length]
        soundfile.write(folder / f"clip {n:04d}.wav", cut, rate)


def measure(inputs: Path, output: Path, mode: str | None, jobs: int) -> tuple[float, float, float, int]:
    """Processor time (s), wall time (s), peak memory of one process (MB) and size of the page (bytes)."""
    page = output / "report.html"
    words = [sys.executable, "-m", "audiotool", "denoise", str(inputs), "-o", str(output / "out"), "-q"]
    words += ["--jobs", str(jobs)]
    if mode is not None:
        words += ["--report", str(page), "--report-audio", mode]
    began = os.times()
    process = subprocess.Popen(words)
    _, code, usage = os.wait4(process.pid, 0)
    ended = os.times()
    if code:
        sys.exit(f"the batch failed ({code})")
    spent = ended.children_user + ended.children_system - began.children_user - began.children_system
    size = page.stat().st_size if page.is_file() else 0
    return spent, ended.elapsed - began.elapsed, usage.ru_maxrss / 1000, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name, "in")
        inputs.mkdir()
        make_inputs(inputs, arguments.files, arguments.seconds)
        print(f"{'report':8}{'CPU s':>8}{'ratio':>7}{'wall s':>8}{'peak MB':>9}{'page MB':>9}")
        base = None
        for mode in MODES:
            output = Path(name, str(mode))
            output.mkdir()
            cpu, wall, memory, size = measure(inputs, output, mode, arguments.jobs)
            base = base or cpu
            told = mode or "without"
            print(f"{told:8}{cpu:8.1f}{cpu / base:7.2f}{wall:8.1f}{memory:9.0f}{size / 1e6:9.2f}", flush=True)


if __name__ == "__main__":
    main()
