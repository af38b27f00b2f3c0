"""Measure by how much a model's output depends on the size of its chunks.

    python scripts/measure_chunks.py harmonic-vocoder-24k FILES... [--chunks 0.05 0.25] [--engine onnx]

Each recording is processed in chunks of --chunks seconds, and in those of files, ten seconds. A line is a
size: the median and the worst of the recordings' greatest differences, relative to the peak of the output,
and of the root mean squares of the differences, relative to that of the output.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from plain_errors import run_script

import audiotool
from audiotool.audio.reader import read


def sizes(x: NDArray[np.float32]) -> tuple[float, float]:
    """Return the peak and the root mean square."""
    return float(np.abs(x).max()), float(np.sqrt(np.square(x).mean()))


def main() -> None:
    """Load, process, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", help="a bundled checkpoint's name, or its file")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--chunks", nargs="+", type=float, default=[0.05, 0.25], metavar="SECONDS")
    parser.add_argument("--engine", choices=("onnx", "torch"), default="onnx")
    options = parser.parse_args()
    whole, *cut = (
        audiotool.load(options.model, engine=options.engine, threads=1, chunk_seconds=seconds)
        for seconds in (None, *options.chunks)
    )
    found = []
    for file in options.files:
        waveform, rate = read(file)
        expected = whole(waveform, rate)
        errors = [pipeline(waveform, rate) - expected for pipeline in cut]
        found.append([np.divide(sizes(error), sizes(expected)) for error in errors])
    relative: NDArray[np.float64] = np.array(found)
    middle, worst = np.median(relative, axis=0), relative.max(axis=0)
    for seconds, (peak, mean), (worst_peak, worst_mean) in zip(options.chunks, middle, worst, strict=True):
        print(
            f"chunks of {seconds:g} s, {len(found)} recordings: {peak:.1e} of the peak in the median,"
            f" {worst_peak:.1e} in the worst; {mean:.1e} and {worst_mean:.1e} of the root mean square"
        )


if __name__ == "__main__":
    run_script(main)
