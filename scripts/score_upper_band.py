r"""Score denoisers above 8 kHz: mixtures at 48 kHz, in a table.

    python scripts/render_valid_wide.py SET --rate 48000 --count 20 --hiss 0.5 --speech ... --noise ...
    python scripts/score_upper_band.py --test SET/second [--model NAME_OR_CHECKPOINT ...] [--limit N]

Columns are means over the files: the log-spectral distance from 8 to 20 kHz and below 8 kHz (frames
within 40 dB of the loudest; what is 80 dB under the loudest bin counts as that loud), SI-SDR of
the whole band, and how much more than the clean recording is left from 8 to 20 kHz during vowels: frames that
lie within 25 dB of the loudest, and whose clean speech is 30 dB weaker above 8 kHz than below. What is 80 dB
under the loudest frame counts as that loud. The default of the denoiser is what `audiotool denoise` takes at
that sample rate.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import scipy.signal
from compare_peers import Waveform, mono
from plain_errors import run_script

import audiotool
from audiotool.metrics.pairing import pair_files
from audiotool.metrics.score import score

BANDS_KHZ = ((8, 20), (0, 8))
COLUMNS = ("LSD 8 to 20 kHz, dB", "LSD 0 to 8 kHz, dB", "SI-SDR at 48 kHz, dB", "over clean in vowels, dB")


def powers(x: Waveform, rate: int) -> np.ndarray:
    """(time,) -> (bins, frames) of 32 ms."""
    return np.square(np.abs(scipy.signal.stft(x, rate, nperseg=round(0.032 * rate))[2]))


def measured(clean: Waveform, output: Waveform, rate: int) -> list[float]:
    """The columns of one file; NaN where it has no vowel."""
    reference, found = powers(clean, rate), powers(output, rate)
    hz = np.linspace(0, rate / 2, len(reference))
    loud = reference.sum(0)
    audible, floor = loud > loud.max() * 1e-4, reference.max() * 1e-8
    difference = np.subtract(*(10 * np.log10(np.maximum(p[:, audible], floor)) for p in (reference, found)))
    rows = [difference[(hz >= 1e3 * low) & (hz < 1e3 * high)] for low, high in BANDS_KHZ]
    distances = [float(np.sqrt(np.square(row).mean(0)).mean()) for row in rows]
    upper = (hz >= 8e3) & (hz < 20e3)
    vowels = (loud > loud.max() * 10**-2.5) & (reference[upper].sum(0) < 1e-3 * reference[hz < 8e3].sum(0))
    least = loud.max() * 1e-8
    left = 10 * np.log10((found[upper].sum(0) + least) / (reference[upper].sum(0) + least))[vowels]
    si_sdr = score(clean, output, rate, ("si_sdr",))["si_sdr"].value
    return [*distances, np.nan if si_sdr is None else si_sdr, float(left.mean()) if left.size else np.nan]


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--test", type=Path, required=True, help="folder with noisy/ and clean/")
    parser.add_argument("--model", action="append", help="name or checkpoint; default: the default denoiser")
    parser.add_argument("--limit", type=int, help="number of files, from the first")
    options = parser.parse_args()
    pairs = pair_files(options.test / "clean", options.test / "noisy")[: options.limit]
    files = [(*mono(pair.reference), mono(pair.estimate)[0]) for pair in pairs if pair.reference]
    print(f"| system, {len(files)} mixtures | {' | '.join(COLUMNS)} |\n|{' --- |' * (len(COLUMNS) + 1)}")
    for name in [None, *(options.model or ["denoise"])]:
        pipeline = None if name is None else audiotool.load(name, device="cpu", task="denoise")
        rows = [
            measured(clean, noisy if pipeline is None else pipeline(noisy, rate), rate)
            for clean, rate, noisy in files
        ]
        means = " | ".join(f"{mean:.2f}" for mean in np.nanmean(rows, axis=0))
        print(f"| {'noisy input' if name is None else Path(name).stem} | {means} |", flush=True)


if __name__ == "__main__":
    run_script(main)
