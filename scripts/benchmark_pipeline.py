"""Measure the pipeline around a denoiser: speed against the bare model, memory against length, start-up.

    python scripts/benchmark_pipeline.py                         the bundled denoiser
    python scripts/benchmark_pipeline.py --checkpoint MY.safetensors --hour 600

Everything runs on one thread. Ratios are measured side by side in one run, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from plain_errors import run_script

import audiotool
from audiotool.named_checkpoints import default_for
from audiotool.streaming.make import make_streamer

RUN = "from audiotool.cli.app import main; main()"


def noise(seconds: float, sample_rate: int) -> np.ndarray:
    """(1, time) noise that pulses as speech does."""
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    rng = np.random.default_rng(0)
    return (0.1 * (1 + np.sin(6 * t)) * rng.standard_normal(len(t)))[None].astype(np.float32)


def write_long(path: Path, seconds: float, sample_rate: int) -> None:
    """A file of any length, written minute by minute."""
    from audiotool.audio.file_writer import FileWriter
    from audiotool.audio.writer import OutputFormat

    with FileWriter(path, OutputFormat(sample_rate, 1)) as writer:
        while (left := seconds - writer.frames / sample_rate) > 0:
            writer.write(noise(min(left, 60.0), sample_rate).T)


def child(arguments: list[str]) -> tuple[float, float, float]:
    """Run Python; (wall seconds, CPU seconds, peak memory in MB)."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"failed: {' '.join(arguments)}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def best(arguments: list[str], times: int) -> tuple[float, float]:
    """Least wall and CPU seconds of several runs."""
    runs = [child(arguments) for _ in range(times)]
    return min(r[0] for r in runs), min(r[1] for r in runs)


def speed(path: Path, folder: Path, seconds: float) -> None:
    """File mode beside one whole-file forward by CPU time, and how far streamed output is from it."""
    pipeline = audiotool.load(path, device="cpu")
    model = audiotool.load_model(path)
    x = noise(seconds, model.sample_rate)
    write_long(folder / "speed.wav", seconds, model.sample_rate)
    waveform = torch.from_numpy(x)[None]
    with torch.inference_mode():
        model.process(waveform)
        began = time.process_time()
        whole = model.process(waveform)
        forward = time.process_time() - began
    began = time.process_time()
    pipeline.process_file(folder / "speed.wav", folder / "speed-out.wav")
    file_mode = time.process_time() - began
    print(f"{seconds:.0f} s of audio, one thread, CPU time")
    print(f"  whole-file forward       {seconds / forward:8.1f}x real time")
    share = forward / file_mode
    print(f"  file mode, 10 s chunks   {seconds / file_mode:8.1f}x real time, {share:.2f} of the forward")
    for name, chunk in (("one hop", 1), ("7 hops", 7), ("1 s", model.sample_rate // model.hop_length)):
        streamer = make_streamer(pipeline.engine, chunk * model.hop_length)
        began = time.process_time()
        parts = [streamer.feed(b.numpy()) for b in waveform.split(model.sample_rate, dim=-1)]
        y = torch.from_numpy(np.concatenate([*parts, streamer.flush()], axis=-1))
        taken = time.process_time() - began
        error = float((y - whole).abs().max() / whole.abs().max())
        print(f"  chunks of {name:15s}{seconds / taken:8.1f}x real time, {error:.1e} of peak from whole-file")
    live = pipeline.live(model.sample_rate)
    print(f"  latency: algorithmic {1000 * model.latency / model.sample_rate:.1f} ms,", end=" ")
    print(f"with hop {1000 * live.latency_seconds:.1f} ms,", end=" ")
    print(f"with resampling {1000 * pipeline.live(48000).latency_seconds:.1f} ms (48 kHz)")


def memory(path: Path, folder: Path, hour: float) -> None:
    """Peak memory of the command on a minute and on an hour."""
    rate = audiotool.load(path, device="cpu").sample_rate
    peaks = []
    for seconds in (60.0, hour):
        source = folder / f"{seconds:.0f}.wav"
        write_long(source, seconds, rate)
        arguments = [
            "denoise",
            str(source),
            "-o",
            str(folder / "out.wav"),
            "--overwrite",
            "--checkpoint",
            str(path),
        ]
        wall, _, peak = child(["-c", RUN, *arguments])
        peaks.append(peak)
        print(f"{seconds:6.0f} s file: peak {peak:7.1f} MB, {wall:.1f} s wall")
    print(f"  difference {peaks[1] - peaks[0]:+.1f} MB")


def start_up(path: Path, folder: Path) -> None:
    """Start-up times, by wall clock and by CPU time."""
    write_long(folder / "five.wav", 5.0, 16000)
    arguments = ["denoise", str(folder / "five.wav"), "-o", str(folder / "o.wav"), "--overwrite"]
    torch_wall, torch_cpu = best(["-c", "import torch"], 3)
    help_wall, help_cpu = best(["-c", RUN, "--help"], 5)
    run_wall, run_cpu = best(["-c", RUN, *arguments, "--checkpoint", str(path)], 3)
    print("start-up, best of several, wall (CPU)")
    print(f"  audiotool --help               {help_wall:.2f} s ({help_cpu:.2f} s)")
    print(f"  import torch                   {torch_wall:.2f} s ({torch_cpu:.2f} s)")
    print(f"  denoise a 5 s file             {run_wall:.2f} s ({run_cpu:.2f} s)")
    print(f"  beyond the import of torch     {run_wall - torch_wall:.2f} s ({run_cpu - torch_cpu:.2f} s)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, help="default: the bundled denoiser")
    parser.add_argument("--seconds", type=float, default=60.0, help="audio for the speed test")
    parser.add_argument("--hour", type=float, default=3600.0, help="seconds of the long file")
    parser.add_argument("--only", choices=("speed", "memory", "start-up"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    path = options.checkpoint or default_for("denoise")
    with tempfile.TemporaryDirectory() as folder:
        if options.only in (None, "start-up"):
            start_up(path, Path(folder))
        if options.only in (None, "speed"):
            speed(path, Path(folder), options.seconds)
        if options.only in (None, "memory"):
            memory(path, Path(folder), options.hour)


if __name__ == "__main__":
    run_script(main)
