"""Measure many live streams at once: processor time of a hop a stream, alone and in batches, and memory.

    python scripts/benchmark_streams.py --model denoise-16k --streams 1 8 64

One core, without threads. "alone" is a stream of `Pipeline.live`; the others are places of `Pipeline.streams`
that all have a hop. "real time" is the share of a core that so many streams take.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from plain_errors import run_script

import audiotool

HOPS = 200


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", default=["denoise-tiny-16k", "denoise-16k"])
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 8, 16, 32, 64])
    parser.add_argument("--engine", default="auto", choices=("auto", "onnx", "torch"))
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    for name in options.model:
        pipeline = audiotool.load(name, options.device, engine=options.engine, threads=1)
        hop, rate = pipeline.engine.hop_length, pipeline.sample_rate
        noise = 0.1 * np.random.default_rng(0).standard_normal((max(options.streams), HOPS * hop))
        noise = noise.astype(np.float32)
        alone = percentiles(live_times(pipeline, noise[0], hop))
        print(f"{name}: a hop of {1000 * hop / rate:.0f} ms; median and p99 of its processor time a stream")
        print(f"  alone      {alone[0]:6.3f} ms  p99 {alone[1]:6.3f} ms")
        for count in options.streams:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            middle, high = percentiles([t / count for t in batch_times(pipeline, noise[:count], hop)])
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 / count
            share = middle * count / (1000 * hop / rate)
            print(
                f"  {count:3d} streams{middle:7.3f} ms  p99 {high:6.3f} ms  1/{alone[0] / middle:.1f}"
                f" of alone, {share:.2f} of real time, {grown:.2f} MB more a stream"
            )


def live_times(pipeline: audiotool.Pipeline, noise: np.ndarray, hop: int) -> list[float]:
    """Milliseconds of processor time of each hop of one live stream."""
    live, times = pipeline.live(pipeline.sample_rate), []
    for n in range(0, len(noise), hop):
        before = time.process_time()
        live.feed(noise[n : n + hop])
        times.append(1000 * (time.process_time() - before))
    return times


def batch_times(pipeline: audiotool.Pipeline, noise: np.ndarray, hop: int) -> list[float]:
    """The same of as many streams as the noise has rows, together."""
    streams = pipeline.streams(len(noise))
    calls, times = [streams.join(pipeline.sample_rate) for _ in noise], []
    for n in range(0, noise.shape[1], hop):
        before = time.process_time()
        for call, row in zip(calls, noise, strict=True):
            call.push(row[n : n + hop])
        streams.step()
        for call in calls:
            call.pull()
        times.append(1000 * (time.process_time() - before))
    return times


def percentiles(times: list[float]) -> tuple[float, float]:
    """Median and p99 without the warm-up."""
    steady = times[20:]
    return float(np.median(steady)), float(np.percentile(steady, 99))


if __name__ == "__main__":
    run_script(main)
