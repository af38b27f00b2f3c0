"""Measure where the speech of a manifest ends (data.augmentation.match_bandwidth); leave out what is noisy.

    python scripts/measure_bandwidth.py MANIFEST -o OUT [--least-range DB] [--least-bandwidth HZ] [--rate HZ]
        [--jobs N] [--overwrite]

OUT is a copy of the manifest with the column `bandwidth_hz`, of the rows that are speech; it has a manifest's
columns and no others. Many recordings are
duller than their sample rate: MP3, noise suppression of browsers, resampling. Trained on as they are, with
noise of full bandwidth over them, they teach that the top band never holds speech.

A band of 250 Hz holds speech where its loud moments (98th percentile of 32 ms frames) lie within 45 dB of
those of the loudest band, and 10 dB over its own quiet ones (5th percentile); --least-range leaves out
recordings whose loud moments in the 2.5 kHz under that end lie less than so far over the quiet ones: there is
noise under the voice; --least-bandwidth leaves out those that end lower. All is measured at --rate, 16 kHz
unless given: there, 8000 means 8 kHz or more.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from outputs import parse_with_output
from plain_errors import run_script

from audiotool.data.clips import Samples, read_audio
from audiotool.data.manifest import read_manifest, write_manifest
from audiotool.errors import InputError

BINS, BIN_HZ = 8, 31.25
"""A band is BINS bins of frames of 32 ms: 250 Hz."""
BELOW_LOUDEST_DB, ABOVE_QUIET_DB = 45.0, 10.0
TOP = 10
"""Bands under the end of the speech whose range is measured; the highest three have no part in it."""


def bands(samples: Samples, n_fft: int) -> NDArray[np.float64]:
    """(time,) -> powers (frames, bands) in decibels; frames of digital silence are left out."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, n_fft)[:: n_fft // 2]
    spectrum = np.fft.rfft(frames * np.hanning(n_fft).astype(np.float32), axis=1)
    power = np.square(np.abs(spectrum[:, : n_fft // 2])).reshape(len(frames), -1, BINS).sum(-1)
    return 10 * np.log10(power[power.sum(1) > 1e-8] + 1e-14)


def measure(path: Path, rate: int) -> tuple[float, float] | str:
    """(bandwidth in Hz, range under it in dB) of a file, or why it cannot be measured."""
    n_fft = round(rate / BIN_HZ)
    try:
        samples = read_audio(path, rate)
    except InputError as error:
        return str(error)
    found = bands(samples, n_fft) if len(samples) >= n_fft else np.zeros((0, 0))
    if not len(found):
        return f"{path}: holds no sound"
    loud, quiet = np.percentile(found, [98, 5], axis=0)
    holds = (loud > loud.max() - BELOW_LOUDEST_DB) & (loud > quiet + ABOVE_QUIET_DB)
    edge = (np.flatnonzero(holds).max() + 1) if holds.any() else len(loud)
    end = min(edge, len(loud) - 3)
    top = 10 * np.log10((10 ** (found[:, max(end - TOP, 0) : end] / 10)).sum(1))
    return float(edge * BINS * BIN_HZ), float(np.subtract(*np.percentile(top, [95, 5])))


def main() -> None:
    """Read, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, dest="output")
    parser.add_argument("--least-range", type=float, default=0.0, metavar="DB")
    parser.add_argument("--least-bandwidth", type=float, default=0.0, metavar="HZ")
    parser.add_argument("--rate", type=int, default=16000, metavar="HZ", help="to measure at")
    parser.add_argument("--jobs", type=int, default=2)
    options = parse_with_output(parser)
    rows = read_manifest(options.manifest)
    entries = [entry for entry in rows if entry.kind == "speech"]
    kept = []
    with ThreadPoolExecutor(options.jobs) as pool:
        measured = pool.map(functools.partial(measure, rate=options.rate), [e.path for e in entries])
        for entry, found in zip(entries, measured, strict=True):
            if isinstance(found, str):
                print(f"left out: {found}", file=sys.stderr)
            elif found[0] >= options.least_bandwidth and found[1] >= options.least_range:
                kept.append(dataclasses.replace(entry, bandwidth_hz=found[0]))
    write_manifest(options.output, kept)
    end = options.rate / 2 - 250
    full = sum(entry.bandwidth_hz >= end for entry in kept)
    print(f"{len(kept)} of {len(entries)} recordings in {options.output}, {full} of them up to {end:g} Hz")
    if others := len(rows) - len(entries):
        print(f"{others} rows of other kinds than speech are left out")


if __name__ == "__main__":
    run_script(main)
