"""DNSMOS: mean opinion scores that networks predict without a reference.

P.808 is one score. P.835 has one of the speech (SIG), one of the background (BAK) and one of both (OVRL). The
networks are Microsoft's, in the wheel of `speechmos` (MIT). The package itself is not imported, because it
depends on more than the networks need. The networks take 9.01 s at 16 kHz. The scores of a longer recording
are the means over windows that begin a second apart; a shorter recording is repeated. Both are as in that
package.

Neighbouring windows share all but a second. Nearly all the work of P.835 is in convolutions over time, which
depend on 6 frames to either side. They run once over the samples that windows share, and once more at the
ends of each window (`_p835`).

References: Reddy et al., DNSMOS P.835, ICASSP 2022, arXiv:2110.01763; Reddy et al., DNSMOS, ICASSP 2021,
arXiv:2010.15258.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from audiotool.extras import require
from audiotool.metrics.base import NonIntrusiveMetric, Recording, Unscorable, Waveform
from audiotool.metrics.graphs import Graph, graph_of_package

SAMPLE_RATE = 16000
LENGTH = 144160
"""Samples of a window: 9.01 s."""

HOP = SAMPLE_RATE
"""Number of samples between the beginnings of windows."""

TOGETHER = 60
"""Number of windows that are rated at a time, of any recording: about a minute is in memory."""

FRAME = 160
"""Number of samples between frames of both networks."""

MELS = 120
"""Number of bands of P.808's input."""

WINDOW_FRAMES, HOP_FRAMES = 900, HOP // FRAME
"""Number of frames of a window, and between the beginnings of windows."""

P835_SCALE = {
    "sig": (-0.08397278, 1.22083953, 0.0052439),
    "bak": (-0.13166888, 1.60915514, -0.39604546),
    "ovrl": (-0.06766283, 1.11546468, 0.04602535),
}
"""Polynomials from the outputs of the network to mean opinion scores, in the order of the outputs."""


class _Dnsmos(NonIntrusiveMetric):
    family = "dnsmos"
    unit = "MOS"
    rates_channels = True
    score: ClassVar[str]

    @classmethod
    def check(cls) -> None:
        require(("speechmos", "onnx"), "DNSMOS", "mos")

    def rate(self, recording: Recording) -> float:
        return recording.results.of("dnsmos", lambda: rate(recording))[self.score]


class DnsmosOverall(_Dnsmos):
    """DNSMOS P.835, overall quality, 1 to 5."""

    name = "dnsmos_ovrl"
    score = "ovrl"


class DnsmosSignal(_Dnsmos):
    """DNSMOS P.835, quality of the speech, 1 to 5."""

    name = "dnsmos_sig"
    score = "sig"


class DnsmosBackground(_Dnsmos):
    """DNSMOS P.835, quality of the background, 1 to 5: higher is less intrusive."""

    name = "dnsmos_bak"
    score = "bak"


class DnsmosP808(_Dnsmos):
    """DNSMOS P.808, overall quality, 1 to 5."""

    name = "dnsmos_p808"
    score = "p808"


def rate(recording: Recording) -> dict[str, float]:
    """Return {"sig", "bak", "ovrl", "p808"}: means over windows and the channels that are not silent.

    Raises:
        Unscorable: the recording is silent.
        DependencyError: `speechmos` or `onnx` is missing.
    """
    _Dnsmos.check()
    totals, count = np.zeros(4), 0
    for samples, first, number, period in _groups(recording.heard(SAMPLE_RATE)):
        different = _different(number, period)
        kept = [n % different for n in range(number) if _counts(first + n)]
        for channel in samples:
            scores = np.column_stack((_p835(channel, different, period), _p808(channel, different)))
            totals += scores[kept].sum(axis=0)
            count += len(kept)
    return dict(zip((*P835_SCALE, "p808"), (totals / count).tolist(), strict=True))


def window_count(length: int) -> int:
    """Return the number of windows of a recording of `length` samples; `speechmos` counts whole seconds."""
    return int(length // SAMPLE_RATE - LENGTH / SAMPLE_RATE) + 1


def _counts(window: int) -> bool:
    """Return whether `speechmos` averages a window.

    It ends window n at (n + 9.01) * 16000, which in floating point is a sample short for some n. It leaves
    those windows out: the 8th to 24th, the 120th to 124th.
    """
    return int((window + LENGTH / SAMPLE_RATE) * HOP) - window * HOP == LENGTH


def _different(number: int, period: int) -> int:
    """Return the number of different windows.

    Args:
        number: number of all windows.
        period: period of the samples; 0 if they do not repeat.
    """
    return min(number, period // math.gcd(period, HOP)) if period else number


def _groups(blocks: Iterator[Waveform]) -> Iterator[tuple[Waveform, int, int, int]]:
    """Yield groups of windows as (samples, number of the first window, number of windows, period).

    The samples are (channels, time). A recording that is shorter than a window is repeated, and its length is
    the period; else the period is 0.
    """
    held: Waveform | None = None
    done = total = 0
    for block in blocks:
        held = block if held is None else np.concatenate((held, block), axis=1)
        total += block.shape[1]
        while window_count(total) - done >= TOGETHER:
            yield held[:, : _samples(TOGETHER)], done, TOGETHER, 0
            done, held = done + TOGETHER, held[:, TOGETHER * HOP :]
    if held is None or not total:
        raise Unscorable("there are no samples to rate")
    period = total if total < LENGTH else 0
    while total < LENGTH:
        held, total = np.concatenate((held, held), axis=1), 2 * total
    if window_count(total) > done:
        number = window_count(total) - done
        yield held[:, : _samples(number)], done, number, period


def _samples(windows: int) -> int:
    return LENGTH + (windows - 1) * HOP


def _p835(samples: Waveform, number: int, period: int = 0) -> NDArray[np.float64]:
    """Return SIG, BAK and OVRL of each window, (windows, 3).

    Args:
        samples: (time,).
        number: number of windows.
        period: period of the samples; 0 if they do not repeat.
    """
    trunk, head = _p835_graphs()
    frames = sliding_window_view(samples[: _samples(number)], 2 * FRAME)[::FRAME]
    shared = _repeated(trunk, frames, period) if period else _in_parts(trunk, frames)
    starts = [n * HOP_FRAMES for n in range(number)]
    edge = EDGE_FRAMES
    ends = np.stack(
        [frames[n : n + edge] for n in starts] + [frames[n + WINDOW_FRAMES - edge :][:edge] for n in starts]
    )
    ends = trunk(ends)
    scores = []
    for n, start in enumerate(starts):
        window = shared[:, start // POOLED : (start + WINDOW_FRAMES) // POOLED].copy()
        window[:, :AFFECTED], window[:, -AFFECTED:] = ends[n][:, :AFFECTED], ends[number + n][:, -AFFECTED:]
        scores.append(head(window[None])[0])
    raw = np.array(scores, np.float64)
    return np.column_stack([np.polyval(p, raw[:, n]) for n, p in enumerate(P835_SCALE.values())])


POOLED = 4
"""Number of input frames of one output frame of the trunk."""

MARGIN = 8
"""Number of frames before and after a part, of which the trunk uses 6; a multiple of `POOLED`."""

PART = 400
"""Number of frames that the trunk takes at a time."""

EDGE_FRAMES = 16
AFFECTED = 2
"""The first and last `AFFECTED` output frames of a window depend on where it begins and ends. They are
computed from its first and last `EDGE_FRAMES` frames."""


def _repeated(trunk: Graph, frames: Waveform, period: int) -> Waveform:
    """Return the same as `_in_parts`, computed over one cycle of the output if that is shorter.

    The output repeats after the least common multiple of the samples' period and of one output frame.
    """
    cycle = math.lcm(period, FRAME * POOLED) // (FRAME * POOLED)
    once = cycle * POOLED + 2 * MARGIN
    if once >= len(frames):
        return _in_parts(trunk, frames)
    # The first output frames depend on the beginning, and are not repeated: windows compute their own.
    shared = _in_parts(trunk, frames[:once])[:, AFFECTED : AFFECTED + cycle]
    return shared[:, (np.arange(len(frames) // POOLED) - AFFECTED) % cycle]


def _in_parts(trunk: Graph, frames: Waveform) -> Waveform:
    """Return the trunk's output (channels, frames / 4, bands) for frames (frames, samples), part by part."""
    parts = []
    for start in range(0, len(frames), PART):
        before, after = min(start, MARGIN), min(max(len(frames) - start - PART, 0), MARGIN)
        given = trunk(frames[None, start - before : start + PART + after])[0]
        parts.append(given[:, before // POOLED : (len(given[0]) * POOLED - after) // POOLED])
    return np.concatenate(parts, axis=1)


@functools.cache
def _p835_graphs() -> tuple[Graph, Graph]:
    """Return the two parts of P.835's network.

    The trunk maps (B, frames, 320) to (B, 32, frames / 4, 40), the head maps that to (B, 3).
    """
    import onnx

    whole = onnx.load(graph_of_package("speechmos", "dnsmos_models/sig_bak_ovr.onnx"))
    framed = next(node for node in whole.graph.node if node.op_type == "Concat").output[0]
    pooled = [node for node in whole.graph.node if node.op_type == "MaxPool"][1].output[0]
    (output,) = (value.name for value in whole.graph.output)
    return Graph.cut(whole, framed, pooled), Graph.cut(whole, pooled, output)


def _p808(samples: Waveform, number: int) -> NDArray[np.float64]:
    """Return the mean opinion score of each window, (windows,)."""
    bank, window = _p808_analysis()
    # The first and last frame of a window extend beyond its ends, where the samples are zero.
    inside = sliding_window_view(samples, len(window))[::FRAME]
    scores = []
    for n in range(number):
        start = n * HOP
        first = np.concatenate((np.zeros(FRAME, np.float32), samples[start : start + FRAME + 1]))
        last = samples[start + LENGTH - FRAME - 2 * FRAME : start + LENGTH - FRAME]
        frames = [
            first[None],
            inside[n * HOP_FRAMES :][: WINDOW_FRAMES - 2],
            np.append(last, np.float32(0))[None],
        ]
        spec = np.fft.rfft(np.concatenate(frames) * window, axis=1)
        mel = (np.square(spec.real) + np.square(spec.imag)) @ bank
        level = 10 * np.log10(np.maximum(mel, 1e-10))
        level -= level.max()
        features = (np.maximum(level, -80) + 40) / 40
        scores.append(_p808_graph()(features[None].astype(np.float32))[0, 0])
    return np.array(scores, np.float64)


@functools.cache
def _p808_graph() -> Graph:
    return Graph(graph_of_package("speechmos", "dnsmos_models/model_v8.onnx").read_bytes())


@functools.cache
def _p808_analysis() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return mel bands (161, 120) of equal area on Slaney's scale, and the Hann window (321,).

    The bands are computed in double precision, as librosa does: some of the lowest have one small weight, of
    which `dsp.mel` would lose digits.
    """
    length = 2 * FRAME + 1
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    mels = np.linspace(0.0, 15 + 27 * np.log(SAMPLE_RATE / 2 / 1000) / np.log(6.4), MELS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))
    bins = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)[:, None]
    rising = (bins - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins) / np.diff(edges)[1:]
    bands = np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])
    return bands.astype(np.float32), window
