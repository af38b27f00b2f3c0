"""Measure streams: the resampler beside soxr's, live latency at any rate, the cost of blocks of any size.

    python scripts/benchmark_streaming.py                         the bundled denoiser
    python scripts/benchmark_streaming.py --checkpoint denoise-16k

Everything runs on one thread and is timed by CPU time. What is compared takes turns, so that a busy machine
slows both: the ratios hold where the times do not.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import soxr
import torch
from plain_errors import run_script

import audiotool
from audiotool.streaming.resample import StreamingResampler

MODEL_RATE = 16000
TURNS = 7
LIVE_RATES = (8000, 16000, 22050, 44100, 48000, 96000)


def noise(seconds: float, sample_rate: int) -> np.ndarray:
    """(1, time)"""
    rng = np.random.default_rng(0)
    return 0.1 * rng.standard_normal((1, round(seconds * sample_rate))).astype(np.float32)


def cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def there_and_back(x: np.ndarray, sample_rate: int, size: int) -> None:
    """To the model's rate and back, in blocks."""
    down = StreamingResampler(sample_rate, MODEL_RATE, 1)
    up = StreamingResampler(MODEL_RATE, sample_rate, 1)
    for start in range(0, x.shape[1], size):
        up.feed(down.feed(x[:, start : start + size]))
    up.feed(down.flush())
    up.flush(x.shape[1])


def there_and_back_by_soxr(x: np.ndarray, sample_rate: int, size: int) -> None:
    """The same by soxr's streams of quality HQ."""
    down = soxr.ResampleStream(sample_rate, MODEL_RATE, 1, "float32", "HQ")
    up = soxr.ResampleStream(MODEL_RATE, sample_rate, 1, "float32", "HQ")
    frames = x.T
    for start in range(0, len(frames), size):
        up.resample_chunk(down.resample_chunk(frames[start : start + size]))
    up.resample_chunk(down.resample_chunk(frames[:0], last=True), last=True)


def compare_resamplers(seconds: float) -> None:
    print(f"{seconds:.0f} s to {MODEL_RATE} Hz and back: milliseconds, soxr's, median ratio")
    for sample_rate in (8000, 44100, 48000, 96000):
        x = noise(seconds, sample_rate)
        for said, size in (("10 s", 10 * sample_rate), ("5 ms", sample_rate // 200)):
            pairs = [
                tuple(cpu_seconds(lambda: way(x, sample_rate, size)) for way in ways)  # noqa: B023
                for ways in [(there_and_back, there_and_back_by_soxr)] * TURNS
            ]
            ours, theirs = (1000 * min(times) for times in zip(*pairs, strict=True))
            ratio = statistics.median(a / b for a, b in pairs)
            print(f"  {sample_rate:6d} Hz, blocks of {said}  {ours:7.1f}  {theirs:7.1f}  {ratio:5.2f}")


def live_latency(pipeline: audiotool.Pipeline) -> None:
    """Declared latency, and the most by which output fell behind input fed in steps of a millisecond."""
    print("live: declared and greatest observed lag in ms")
    for sample_rate in LIVE_RATES:
        live = pipeline.live(sample_rate)
        fed = got = most = 0
        for block in np.array_split(noise(2.0, sample_rate)[0], 2000):
            fed += len(block)
            got += len(live.feed(block))
            most = max(most, fed - got)
        print(f"  {sample_rate:6d} Hz  {1000 * live.latency_seconds:6.1f}  {1000 * most / sample_rate:6.1f}")


def block_sizes(pipeline: audiotool.Pipeline, seconds: float) -> None:
    """CPU time of a stream by the size of the blocks it comes in, beside the array as a whole."""
    rate = pipeline.sample_rate
    x = noise(seconds, rate)[0]
    pipeline(x, rate)
    print(f"{seconds:.0f} s at {rate} Hz: CPU seconds")
    print(f"  whole             {min(cpu_seconds(lambda: pipeline(x, rate)) for _ in range(TURNS)):.3f}")
    for milliseconds in (5000, 1000, 250, 50, 16, 5):
        blocks = np.split(x, range(0, len(x), rate * milliseconds // 1000)[1:])
        took = min(cpu_seconds(lambda: list(pipeline.stream(blocks, rate))) for _ in range(3))  # noqa: B023
        print(f"  blocks of {milliseconds:4d} ms {took:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="denoise", help="a task, a bundled name or a path")
    parser.add_argument("--seconds", type=float, default=60.0, help="of audio for the resampler")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = audiotool.load(arguments.checkpoint, device="cpu")
    compare_resamplers(arguments.seconds)
    live_latency(pipeline)
    block_sizes(pipeline, min(10.0, arguments.seconds))


if __name__ == "__main__":
    run_script(main)
