"""A denoiser's output for clean speech and for noise alone, as Markdown.

    audiotool data mix denoise -o TEST --split test --count 100 --set data.root=DATA
    python scripts/check_denoiser.py TEST [--model NAME_OR_CHECKPOINT] [--limit N]

TEST holds noisy/ and clean/ with files of the same names. Clean speech goes in alone, then the noise alone
(noisy minus clean), then digital silence. A second table has the noises alone by kind, as index.csv names
them. A third one has the first second of the mixtures' speech after lead-ins, of files and of live streams.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from plain_errors import run_script

import audiotool
from audiotool.audio.reader import read
from audiotool.metrics.score import score
from audiotool.metrics.sdr import si_sdr
from audiotool.pipeline import Pipeline

SETTLED_SECONDS = 1.0
"""The level of noise is compared from here on: until then the running level is being found."""
SPEECH = 0.05
"""Share of the peak from which a sample of clean speech counts as its beginning."""
CUT_SECONDS = 3.0
"""Length of a mixture from the beginning of its speech on that is processed after a lead-in."""
LEAD_INS = {
    "none": (0.0, 0.0),
    "4 s of the noise": (4.0, 0.0),
    "10 s of the noise": (10.0, 0.0),
    "2.5 s of the noise, 15 dB lower": (2.5, -15.0),
    "2.5 s of the noise, 60 dB lower": (2.5, -60.0),
}
"""Seconds, and gain in dB, of the noise before the mixture."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("test", type=Path)
    parser.add_argument("--model", default="denoise", help="a task's default, a bundled name or a file")
    parser.add_argument("--limit", type=int, help="files at most")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = audiotool.load(options.model)
    changes, scores, removed, names, firsts = [], [], [], [], []
    for path in sorted((options.test / "clean").iterdir())[: options.limit]:
        names.append(path.name)
        clean, rate = read(path)
        noise = read(options.test / "noisy" / path.name)[0] - clean
        kept = run(pipeline, clean, rate)
        changes.append(decibels(kept) - decibels(clean))
        value = score(clean[0], kept[0], rate, ["pesq"])["pesq"].value
        if value is not None:
            scores.append(value)
        begin = round(SETTLED_SECONDS * rate)
        removed.append(decibels(noise[:, begin:]) - decibels(run(pipeline, noise, rate)[:, begin:]))
        begin = max(0, int(np.argmax(np.abs(clean[0]) > SPEECH * np.abs(clean).max())) - rate // 20)
        if clean.shape[1] - begin >= CUT_SECONDS * rate:
            firsts.append(after_lead_ins(pipeline, clean[:, begin:], noise, begin, rate))
    silence = run(pipeline, np.zeros((1, 16000), np.float32), 16000)
    print(f"{len(changes)} recordings\n\n| input | measured | mean | worst |\n| --- | --- | ---: | ---: |")
    rows = (
        ("clean speech", "change of level, dB", changes, max(changes, key=abs)),
        ("clean speech", "PESQ of the output against it", scores, min(scores)),
        ("noise alone", f"removed after {SETTLED_SECONDS:g} s, dB", removed, min(removed)),
    )
    for given, what, values, worst in rows:
        print(f"| {given} | {what} | {np.mean(values):.2f} | {worst:.2f} |")
    near, quiet = np.mean(np.abs(changes) <= 1), np.mean(np.greater_equal(removed, 20))
    print(f"| clean speech | files within 1 dB of their level, % | {100 * near:.0f} | |")
    print(f"| noise alone | files with 20 dB or more removed, % | {100 * quiet:.0f} | |")
    print(f"| silence | largest sample | {np.abs(silence).max():.2g} | |")
    with (options.test / "index.csv").open() as index:
        kinds = {Path(row["clean"]).name: row["noise"] for row in csv.DictReader(index)}
    by_kind = defaultdict(list)
    for name, value in zip(names, removed, strict=True):
        by_kind[kinds[name]].append(value)
    print("\n| noise alone | files | removed, dB, mean | worst |\n| --- | ---: | ---: | ---: |")
    for kind, values in sorted(by_kind.items(), key=lambda item: min(item[1])):
        print(f"| {kind} | {len(values)} | {np.mean(values):.2f} | {min(values):.2f} |")
    if not firsts:
        return
    print(f"\n| lead-in, {len(firsts)} mixtures | SI-SDR of the first second of speech, dB | live |")
    print("| --- | ---: | ---: |")
    for name, (in_file, live) in zip(LEAD_INS, np.mean(firsts, axis=0), strict=True):
        print(f"| {name} | {in_file:.2f} | {live:.2f} |")


def after_lead_ins(
    pipeline: Pipeline, clean: NDArray[np.float32], noise: NDArray[np.float32], begin: int, rate: int
) -> list[tuple[float, float]]:
    """Return the SI-SDR in dB of the first second after each lead-in, of a file and of a live stream.

    Args:
        clean: (channels, time), speech from its beginning on.
        noise: (channels, time) of the whole mixture, in which the speech begins at the sample `begin`.
    """
    length = round(CUT_SECONDS * rate)
    mixture = clean[:, :length] + noise[:, begin : begin + length]
    endless = np.concatenate((noise, noise[:, ::-1]), axis=1)
    found = []
    for seconds, gain_db in LEAD_INS.values():
        before = np.resize(endless[0], round(seconds * rate)) * 10 ** (gain_db / 20)
        x = np.concatenate((before[None].astype(np.float32), mixture[:1]), axis=1)
        live = pipeline.live(rate, 1)
        streamed = np.concatenate((live.feed(x), np.asarray(live.flush())), axis=1)
        second = slice(before.size, before.size + rate)
        a_file, a_stream = (
            float(si_sdr(clean[0, :rate], y[0, second])) for y in (run(pipeline, x, rate), streamed)
        )
        found.append((a_file, a_stream))
    return found


def run(pipeline: Pipeline, waveform: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """(channels, time) through the pipeline."""
    return np.asarray(pipeline(waveform, sample_rate))


def decibels(waveform: NDArray[np.float32]) -> float:
    """Mean power, with a floor at -120 dB of full scale."""
    return float(10 * np.log10(np.square(waveform, dtype=np.float64).mean() + 1e-12))


if __name__ == "__main__":
    run_script(main)
