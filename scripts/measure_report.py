"""The cost of an HTML report: processor time, memory, size; with sound embedded, linked and left out.

    python scripts/measure_report.py --files 200 --seconds 5
    python scripts/measure_report.py --encoders                     how fast a minute of speech is encoded

The same batch is run without a report and with each; processor time is that of the command and its workers.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from plain_errors import run_script

from audiotool.report.sound import Encoder, Opus, Vorbis

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


def encoded(make: Callable[[], bytes]) -> tuple[float, float]:
    """Return the speed of encoding a minute, in times real time, and kbit/s."""
    spent = []
    for _ in range(3):
        began = time.process_time()
        size = len(make())
        spent.append(time.process_time() - began)
    return 60 / min(spent), size * 8 / 60 / 1000


def print_encoders() -> None:
    """Print the table of the encoders of pages, and of libsndfile's Opus."""
    waveform, rate = soundfile.read(DEMO, dtype="float32")
    minute = np.resize(waveform, 60 * rate)[None]

    def by(encoder: Encoder) -> bytes:
        encoder.feed(minute)
        return encoder.finish()

    def opus_of_libsndfile() -> bytes:
        content = io.BytesIO()
        soundfile.write(content, minute.T, rate, "OPUS", format="OGG")
        return content.getvalue()

    print(f"{'encoder':22}{'x real time':>12}{'kbit/s':>8}")
    encoders = (
        ("Opus, libsndfile", opus_of_libsndfile),
        ("Opus, PyAV, quickest", lambda: by(Opus(rate, 1))),
        ("Vorbis, libsndfile", lambda: by(Vorbis(rate, 1))),
    )
    for name, make in encoders:
        speed, size = encoded(make)
        print(f"{name:22}{speed:12.0f}{size:8.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--encoders", action="store_true")
    arguments = parser.parse_args()
    if arguments.encoders:
        print_encoders()
        return
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
            label = mode or "without"
            print(
                f"{label:8}{cpu:8.1f}{cpu / base:7.2f}{wall:8.1f}{memory:9.0f}{size / 1e6:9.2f}", flush=True
            )


if __name__ == "__main__":
    run_script(main)
