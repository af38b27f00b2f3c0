r"""SI-SDR of a separator for two voices, and how often it swaps the speakers midway, as Markdown.

    audiotool data mix two-speakers-16k -o TEST --split test --count 60 --set data.root=DATA \
      --set data.seed=1
    python scripts/check_separator.py TEST [--model NAME_OR_CHECKPOINT] [--limit N] [--live]

TEST contains noisy/NAME.wav and clean/NAME.STEM.wav. Each mixture is streamed like a file, or, with --live,
without a warm-up. Two voices are of one register if the medians of their pitch are both below or both above
`REGISTER_HZ`, as those of two men or of two women mostly are. Stems are matched to the voices by the best
mean SI-SDR over the whole mixture. A voice has swapped if another match is better by more than 1 dB in a part
of `PART_SECONDS` in which all voices speak.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from check_denoiser import decibels
from numpy.typing import NDArray
from plain_errors import run_script

import audiotool
from audiotool.audio.reader import read
from audiotool.dsp.pitch import fundamental_frequency
from audiotool.metrics.sdr import best_permutation, si_sdr

PART_SECONDS = 1.0
AUDIBLE_DB = -20.0
"""Level, relative to the mean of a voice, above which it is active in a part."""
CLEARLY_DB = 1.0
REGISTER_HZ = 165.0
SEPARATED_DB = 3.0
"""A mixture is separated when its voices gain this much on the mean; exchanges themselves lower the gain."""

Waveform = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("test", type=Path)
    parser.add_argument("--model", default="separate", help="a task's default, a bundled name or a file")
    parser.add_argument("--limit", type=int, help="mixtures at most")
    parser.add_argument("--live", action="store_true", help="no warm-up")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = audiotool.load(options.model, warm_up=not options.live)
    stems = pipeline.stems
    before, after, found, alike = [], [], [], []
    for path in sorted((options.test / "noisy").iterdir())[: options.limit]:
        mixture, rate = read(path)
        clean = (options.test / "clean" / f"{path.stem}.{stem}{path.suffix}" for stem in stems)
        voices = np.stack([read(file)[0][0] for file in clean])
        outputs = np.asarray(pipeline(mixture, rate))[:, 0]
        outputs = outputs[list(best_permutation(voices, outputs))]
        before += [si_sdr(voice, mixture[0]) for voice in voices]
        after += [si_sdr(voice, output) for voice, output in zip(voices, outputs, strict=True)]
        found.append(swaps(voices, outputs, rate))
        alike.append(are_of_one_register(voices, rate))
    gains = np.subtract(after, before)
    count = len(found)
    each = gains.reshape(count, -1).mean(1)
    separated = [f for f, gain in zip(found, each, strict=True) if gain >= SEPARATED_DB]
    print(f"| {count} mixtures | measured |\n| --- | ---: |")
    print(f"| SI-SDR of the mixture, dB | {np.mean(before):.2f} |")
    print(f"| SI-SDR of the stems, dB | {np.mean(after):.2f} |")
    print(f"| gain, dB: mean, median, worst tenth | {np.mean(gains):.2f}, {np.median(gains):.2f}, ", end="")
    print(f"{np.quantile(gains, 0.1):.2f} |")
    for register, which in (("one register", np.array(alike)), ("two registers", ~np.array(alike))):
        mean = f"{each[which].mean():.2f} dB in {which.sum()}" if which.any() else "none"
        print(f"| gain of mixtures of voices of {register} | {mean} |")
    print(f"| mixtures that lose | {(each < 0).sum()} of {count} |")
    print(f"| parts of {PART_SECONDS:g} s with swapped voices | {swapped_of(found)} |")
    print(f"| mixtures with such a part | {sum(map(any, found))} of {count} |")
    print(f"| such parts where the gain is {SEPARATED_DB:g} dB or more | {swapped_of(separated)} |")
    print(f"| mixtures where it is | {len(separated)} of {count} |")


def swapped_of(found: list[list[bool]]) -> str:
    """Return how many parts have swapped voices."""
    return f"{sum(map(sum, found))} of {sum(map(len, found))}"


def swaps(voices: Waveform, outputs: Waveform, sample_rate: int) -> list[bool]:
    """Return for every part in which all voices are active whether another order of the outputs fits better.

    Args:
        voices, outputs: (stems, time), each output at its voice's place.
    """
    size = round(PART_SECONDS * sample_rate)
    levels = [decibels(voice) for voice in voices]
    found = []
    for begin in range(0, voices.shape[1] - size + 1, size):
        spoken, separated_part = voices[:, begin : begin + size], outputs[:, begin : begin + size]
        if any(decibels(v) < level + AUDIBLE_DB for v, level in zip(spoken, levels, strict=True)):
            continue
        best = list(best_permutation(spoken, separated_part))
        found.append(
            mean_ratio(spoken, separated_part[best]) > mean_ratio(spoken, separated_part) + CLEARLY_DB
        )
    return found


def are_of_one_register(voices: Waveform, sample_rate: int) -> bool:
    """Whether the voices (stems, time) are all below or all above `REGISTER_HZ`."""
    pitch = fundamental_frequency(torch.from_numpy(voices), sample_rate, sample_rate // 50).numpy()
    above = [np.median(hertz[hertz > 0]) > REGISTER_HZ for hertz in pitch if hertz.any()]
    return len(set(above)) <= 1


def mean_ratio(voices: Waveform, outputs: Waveform) -> float:
    """Mean SI-SDR in dB, (stems, time) twice."""
    return float(np.mean([si_sdr(v, o) for v, o in zip(voices, outputs, strict=True)]))


if __name__ == "__main__":
    run_script(main)
