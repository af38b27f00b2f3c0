"""How far a separator parts two voices, and whether it mixes up who is who midway, as Markdown.

    audiotool data mix two-speakers-16k -o TEST --split test --count 60 --set data.root=DATA \
      --set data.seed=1
    python scripts/check_separator.py TEST [--model NAME_OR_CHECKPOINT] [--limit N]

TEST holds noisy/NAME.wav and clean/NAME.STEM.wav. Each mixture is streamed as a file is. Stems are matched
to the voices by the best mean SI-SDR over the whole mixture; a voice has swapped where, in a part of
`PART_SECONDS` in which all voices speak, another match is better by more than 1 dB.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import audiotool
from audiotool.audio.reader import read
from audiotool.metrics.sdr import best_permutation, si_sdr

PART_SECONDS = 1.0
AUDIBLE_DB = -20.0
"""A voice speaks in a part whose level is above this, relative to its own mean."""
CLEARLY_DB = 1.0
SEPARATED_DB = 3.0
"""A mixture is separated when its voices gain this much on the mean; exchanges themselves lower the gain."""

Waveform = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("test", type=Path)
    parser.add_argument("--model", default="separate", help="a task's default, a bundled name or a file")
    parser.add_argument("--limit", type=int, help="mixtures at most")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = audiotool.load(options.model)
    stems = pipeline.stems
    before, after, found = [], [], []
    for path in sorted((options.test / "noisy").iterdir())[: options.limit]:
        mixture, rate = read(path)
        clean = (options.test / "clean" / f"{path.stem}.{stem}{path.suffix}" for stem in stems)
        voices = np.stack([read(file)[0][0] for file in clean])
        outputs = np.asarray(pipeline(mixture, rate))[:, 0]
        outputs = outputs[list(best_permutation(voices, outputs))]
        before += [si_sdr(voice, mixture[0]) for voice in voices]
        after += [si_sdr(voice, output) for voice, output in zip(voices, outputs, strict=True)]
        found.append(swaps(voices, outputs, rate))
    gains = np.subtract(after, before)
    count = len(found)
    separated = [
        f for f, gain in zip(found, gains.reshape(count, -1).mean(1), strict=True) if gain >= SEPARATED_DB
    ]
    print(f"| {count} mixtures | measured |\n| --- | ---: |")
    print(f"| SI-SDR of the mixture, dB | {np.mean(before):.2f} |")
    print(f"| SI-SDR of the stems, dB | {np.mean(after):.2f} |")
    print(f"| gain, dB: mean, median, worst tenth | {np.mean(gains):.2f}, {np.median(gains):.2f}, ", end="")
    print(f"{np.quantile(gains, 0.1):.2f} |")
    print(f"| parts of {PART_SECONDS:g} s with swapped voices | {swapped_of(found)} |")
    print(f"| mixtures with such a part | {sum(map(any, found))} of {count} |")
    print(f"| such parts where the gain is {SEPARATED_DB:g} dB or more | {swapped_of(separated)} |")
    print(f"| mixtures where it is | {len(separated)} of {count} |")


def swapped_of(found: list[list[bool]]) -> str:
    """How many parts have swapped voices."""
    return f"{sum(map(sum, found))} of {sum(map(len, found))}"


def swaps(voices: Waveform, outputs: Waveform, sample_rate: int) -> list[bool]:
    """For every part in which all speak: whether another order than the given one fits better there.

    Args:
        voices, outputs: (stems, time), each output at its voice's place.
    """
    size = round(PART_SECONDS * sample_rate)
    levels = [decibels(voice) for voice in voices]
    found = []
    for begin in range(0, voices.shape[1] - size + 1, size):
        spoken, heard = voices[:, begin : begin + size], outputs[:, begin : begin + size]
        if any(decibels(v) < level + AUDIBLE_DB for v, level in zip(spoken, levels, strict=True)):
            continue
        best = list(best_permutation(spoken, heard))
        found.append(mean_ratio(spoken, heard[best]) > mean_ratio(spoken, heard) + CLEARLY_DB)
    return found


def mean_ratio(voices: Waveform, outputs: Waveform) -> float:
    """Mean SI-SDR in dB, (stems, time) twice."""
    return float(np.mean([si_sdr(v, o) for v, o in zip(voices, outputs, strict=True)]))


def decibels(waveform: Waveform) -> float:
    """Mean power, with a floor at -120 dB of full scale."""
    return float(10 * np.log10(np.square(waveform, dtype=np.float64).mean() + 1e-12))


if __name__ == "__main__":
    main()
