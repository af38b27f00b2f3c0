"""Measure pipes: by how much output lags, and what short chunks cost beside feeding a live stream.

    python scripts/measure_pipes.py --model denoise-16k

Standard input and output are replaced: the writer gives one sample at a time, and whenever the pipe asks for
more it is noted how much of what was given is not out yet. That is exact, whatever the machine does. Costs
are processor time; what is compared takes turns, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile
from plain_errors import run_script

import audiotool
from audiotool.audio.raw import Raw

TURNS = 5
WAV_HEADER = 44


class Output(io.RawIOBase):
    """Counts what is written."""

    def __init__(self) -> None:
        self.bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.bytes += len(data)
        return len(data)


class Input(io.RawIOBase):
    """Gives a little at a time.

    Args:
        header: bytes before the samples, in input and output.
        size: bytes at a time.
    """

    def __init__(self, data: bytes, header: int, size: int, output: Output) -> None:
        self._data, self._header, self._size, self._output = data, header, size, output
        self._at = self.most = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._at > self._header:
            self.most = max(self.most, self._at - self._output.bytes)
        wanted = self._size if self._at >= self._header else self._header - self._at
        part = self._data[self._at : self._at + min(wanted, size)]
        self._at += len(part)
        return part


def through_pipe(pipeline: audiotool.Pipeline, data: bytes, header: int, size: int, raw: Raw | None) -> int:
    """Bytes by which the output lagged at most."""
    output = Output()
    source = Input(data, header, size, output)
    before = sys.stdin, sys.stdout
    sys.stdin = SimpleNamespace(buffer=source)
    sys.stdout = SimpleNamespace(buffer=output)
    try:
        pipeline.process_file("-", "-", raw=raw)
    finally:
        sys.stdin, sys.stdout = before
    return source.most


def through_live(pipeline: audiotool.Pipeline, x: np.ndarray, size: int) -> None:
    live = pipeline.live(pipeline.sample_rate)
    for n in range(0, len(x), size):
        live.feed(x[n : n + size])
    live.flush()


def cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="denoise-16k")
    parser.add_argument("--seconds", type=float, default=20.0, help="of audio")
    options = parser.parse_args()
    usual = audiotool.load(options.model, threads=1)
    rate, hop = usual.sample_rate, usual.engine.hop_length
    short = audiotool.load(options.model, threads=1, chunk_seconds=hop / rate)
    x = (3000 * np.random.default_rng(0).standard_normal(round(options.seconds * rate))).astype("<i2")
    memory = io.BytesIO()
    soundfile.write(memory, x, rate, format="WAV", subtype="PCM_16")
    wav, raw = memory.getvalue(), Raw("s16le", rate)
    ways: list[tuple[str, Callable[[int], Any]]] = [
        ("WAV", lambda size: through_pipe(usual, wav, WAV_HEADER, size, None)),
        (f"WAV, --chunk {hop / rate:g}", lambda size: through_pipe(short, wav, WAV_HEADER, size, None)),
        ("--raw s16le", lambda size: through_pipe(usual, x.tobytes(), 0, size, raw)),
        ("live.feed", lambda size: through_live(usual, x, size // 2)),
    ]
    declared = usual.live(rate).latency
    print(f"{options.model}, {options.seconds:g} s at {rate} Hz, declared latency {declared} samples")
    for name, way in ways[:3]:
        most = way(2)
        print(f"  {name:20s} lags by at most {most // 2} samples, {1000 * most / 2 / rate:.1f} ms")
    turns = [[cpu_seconds(lambda: way(2 * hop)) for _, way in ways] for _ in range(TURNS)]  # noqa: B023
    for n, (name, _) in enumerate(ways):
        ratio = statistics.median(turn[n] / turn[-1] for turn in turns)
        milliseconds = 1000 * min(turn[n] for turn in turns) / options.seconds
        print(f"  {name:20s} by hops: {milliseconds:.1f} ms of processor a second, {ratio:.2f} of live.feed")


if __name__ == "__main__":
    run_script(main)
