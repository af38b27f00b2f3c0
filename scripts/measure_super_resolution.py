r"""What PESQ hears of a new band: parts of a prediction replaced by the truth, and gains, in a table.

    audiotool data mix super-resolve-48k -o TEST --split valid --count 40 --seed 1 --set data.root=DATA \
      --set audio.sample_rate=16000 --set audio.segment_seconds=5 --set "data.speech=[speech/wide-band.csv]" \
      --set data.narrow_band.source_rate=8000 --set data.narrow_band.bandwidth_hz=null --set data.noise=[]
    python scripts/measure_super_resolution.py --test TEST [--model NAME_OR_CHECKPOINT] [--rows REGEX]

"true" is the reference's: powers of ERB bands in frames of 21 ms above the input's edge. Columns are means
over the files; energies are those of the `restored` metrics.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
import torch.nn.functional as F
from compare_peers import Waveform, mono
from plain_errors import run_script
from torch import Tensor

from audiotool import checkpoint, named_checkpoints
from audiotool.dsp.bandwidth import BandwidthMeter
from audiotool.metrics.pairing import pair_files
from audiotool.metrics.score import score
from audiotool.models.bandwidth_extension import BandwidthExtension

METRICS = (
    "pesq",
    "stoi",
    "estoi",
    "restored_voiced",
    "restored_unvoiced",
    "restored_lsd",
    "restored_correlation",
)
DECIBEL = math.log(10) / 10
"""In nepers of power."""


@dataclass
class Recording:
    """One recording in the model's terms.

    Args:
        wide, narrow: (time,) reference and input, at `rate`.
        spec, source, truth: (1, frames, bins) spectra of the input, the rectified input and the reference.
        predicted, true: (1, frames, bins) natural logarithms of powers, relative to the level's.
        harmonic: (1, frames, bands) predicted shares.
        above: (1, 1, bins), 1 above the edge.
    """

    model: BandwidthExtension
    rate: int
    wide: Waveform
    narrow: Waveform
    edge_hz: float
    spec: Tensor
    source: Tensor
    truth: Tensor
    levels: Tensor
    predicted: Tensor
    true: Tensor
    harmonic: Tensor
    above: Tensor

    def output(self, envelope: Tensor, harmonic: Tensor | None = None) -> Waveform:
        """The input and a band of these powers."""
        harmonic = self.harmonic if harmonic is None else harmonic
        return self.added(
            self.model._render(self.source, envelope, harmonic, self.levels, self.model.start())
        )

    def added(self, spec: Tensor) -> Waveform:
        """The input and a spectrum above the edge."""
        y, _ = self.model.synthesis((spec * self.above).transpose(1, 2), None, True)
        band = soxr.resample(y[0].numpy(), self.model.sample_rate, self.rate)[: len(self.narrow)]
        return self.narrow + np.pad(band, (0, len(self.narrow) - len(band)))

    def mean(self, envelope: Tensor) -> Tensor:
        """(1, frames, 1), the logarithm of the mean power above the edge, up to the Nyquist frequency."""
        bins = (self.above[0, 0] > 0) & (self.model.bin_hz < 0.95 * self.rate / 2)
        return envelope[..., bins].exp().mean(-1, keepdim=True).log()


@torch.no_grad()
def analysed(
    model: BandwidthExtension, gain: float, wide: Waveform, narrow: Waveform, rate: int
) -> Recording:
    """Run the model's parts; a gain in nepers of power is added to its prediction."""
    meter = BandwidthMeter(rate)
    meter.feed(narrow[None].astype(np.float32))
    edge_hz = meter.bandwidth_hz() or rate / 4

    def at_model_rate(x: Waveform) -> Tensor:
        return torch.from_numpy(soxr.resample(x, rate, model.sample_rate).astype(np.float32))[None, None]

    state = model.start()
    spec, source, levels = model._analyse(at_model_rate(narrow), state, True)
    truth = model.rectified(at_model_rate(wide)[:, 0], None, True)[0].transpose(1, 2)
    above = model._bins_above(torch.full((1, 1, 1), edge_hz))
    unit = levels.square() * model.scale
    predicted, harmonic = model._predict(spec.abs().square() / unit, above, state)
    powers = (truth.abs().square() / unit * above) @ model.members
    bands = (powers / (above @ model.members).clamp(min=1) + 1e-9).log()
    first = int((above[0, 0] @ model.members).nonzero()[0])
    bands[..., :first] = bands[..., first : first + 1]
    return Recording(
        model, rate, wide, narrow, edge_hz, spec, source, truth, levels, predicted + gain,
        bands @ model.spread, harmonic, above,
    )  # fmt: skip


Row = Callable[[Recording], Waveform]


def smoothed(r: Recording, frames: float) -> Tensor:
    """A running mean of the true logarithms."""
    n = int(frames)
    pooled = F.avg_pool1d(r.true.transpose(1, 2), n, 1, n // 2, count_include_pad=False)
    return pooled.transpose(1, 2)


def expanded(r: Recording, factor: float) -> Tensor:
    """The prediction, its frames as many times further below the loudest ones."""
    mean = r.mean(r.predicted)
    return r.predicted + (factor - 1) * (mean - mean.flatten().quantile(0.98)).clamp(max=0)


def rendered(envelope: Callable[[Recording, float], Tensor], value: float) -> Row:
    """A row of an envelope that has a parameter."""
    return lambda r: r.output(envelope(r, value))


def mixed(r: Recording, share: float) -> Tensor:
    """The truth, and a share of the prediction's error."""
    return share * r.predicted + (1 - share) * r.true


def predictions() -> Iterator[tuple[str, Row]]:
    """Name and output of rows that know nothing of the reference."""
    yield "input", lambda r: r.narrow
    yield "as predicted", lambda r: r.output(r.predicted)
    for db in (-3, -6, -10, -15, -20):
        yield f"as predicted, {db:+} dB", rendered(lambda r, x: r.predicted + x * DECIBEL, db)
    yield "as predicted, noise", lambda r: r.output(r.predicted, torch.zeros_like(r.harmonic))
    yield "as predicted, rectified", lambda r: r.output(r.predicted, torch.ones_like(r.harmonic))
    for factor in (1.2, 1.5):
        yield f"as predicted, expanded {factor} times", rendered(expanded, factor)


def oracles() -> Iterator[tuple[str, Row]]:
    """Name and output of rows that know a part of the reference."""
    yield "true magnitudes and phases", lambda r: r.added(r.truth)
    yield (
        "true magnitudes, phases of the source",
        lambda r: r.added(torch.polar(r.truth.abs(), r.source.angle())),
    )
    yield "true powers", lambda r: r.output(r.true)
    yield "true powers, noise", lambda r: r.output(r.true, torch.zeros_like(r.harmonic))
    yield "true powers, rectified", lambda r: r.output(r.true, torch.ones_like(r.harmonic))
    for db in (-6, -10, -20):
        yield f"true powers, {db} dB", rendered(lambda r, x: r.true + x * DECIBEL, db)
    for n in (3, 5, 9):
        yield f"true powers, means of {n} frames", rendered(smoothed, n)
    yield "true powers, a frame late", lambda r: r.output(torch.cat((r.true[:, :1], r.true[:, :-1]), 1))
    yield (
        "true powers of frames, predicted tilt",
        lambda r: r.output(r.predicted - r.mean(r.predicted) + r.mean(r.true)),
    )
    yield (
        "predicted powers of frames, true tilt",
        lambda r: r.output(r.true - r.mean(r.true) + r.mean(r.predicted)),
    )
    yield "as predicted, at most true", lambda r: r.output(torch.minimum(r.predicted, r.true))
    yield "as predicted, at least true", lambda r: r.output(torch.maximum(r.predicted, r.true))
    for share in (0.25, 0.5, 0.75):
        yield f"{share} of the error in dB", rendered(mixed, share)


@torch.no_grad()
def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--test", type=Path, required=True, help="folder with noisy/ and clean/")
    parser.add_argument("--model", default="super-resolve-48k", help="name or checkpoint")
    parser.add_argument("--rows", default="", help="regular expression of the rows' names")
    parser.add_argument("--limit", type=int, help="number of files, from the first")
    options = parser.parse_args()
    path = Path(options.model)
    model, _ = checkpoint.load(path if path.is_file() else named_checkpoints.named()[options.model])
    assert isinstance(model, BandwidthExtension)
    # The gain belongs to the prediction, not to true powers.
    gain = model.config.gain_db * DECIBEL
    model.config = dataclasses.replace(model.config, gain_db=0.0)
    recordings = []
    for pair in pair_files(options.test / "clean", options.test / "noisy")[: options.limit]:
        assert pair.reference
        wide, rate = mono(pair.reference)
        recordings.append(analysed(model, gain, wide, mono(pair.estimate)[0], rate))
    print(f"| {len(recordings)} files | {' | '.join(METRICS)} |\n|{' --- |' * (len(METRICS) + 1)}")
    for name, output in (*predictions(), *oracles()):
        if not re.search(options.rows, name):
            continue
        found = []
        for r in recordings:
            values = score(r.wide, output(r), r.rate, METRICS, r.edge_hz)
            found.append([np.nan if v.value is None else v.value for v in values.values()])
        means = np.nanmean(found, axis=0)
        print(f"| {name} | {' | '.join(f'{mean:.3f}' for mean in means)} |", flush=True)


if __name__ == "__main__":
    run_script(main)
