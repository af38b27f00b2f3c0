"""DNSMOS: what listeners would say of a recording, estimated without a reference.

P.808 is one mean opinion score; P.835 has one of the speech (SIG), one of the background (BAK) and one of
both (OVRL). The networks are Microsoft's, in the wheel of `speechmos` (MIT): nothing of that package is
imported, which asks for more than the networks need. They hear 9.01 s at 16 kHz; longer recordings are heard
in windows a second apart, whose scores are averaged, shorter ones are repeated, all as that package does it.

Nine windows share each second. Nearly all the work of P.835 is in convolutions over time, which see 6 frames
around; so they run once over what windows share (`_Trunk`), and again only at the ends of each window.

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

from audiotool.errors import DependencyError
from audiotool.extras import install, is_there, require
from audiotool.metrics.base import NonIntrusiveMetric, Recording, Unscorable, Waveform
from audiotool.metrics.graphs import Graph, graph_of_package

SAMPLE_RATE = 16000
LENGTH = 144160
"""Samples of a window: 9.01 s."""

HOP = SAMPLE_RATE
"""Samples between windows."""

TOGETHER = 60
"""Windows that are rated at a time: what is held is a minute, whatever the recording's length."""

FRAME = 160
"""Samples between frames of both networks."""

MELS = 120
"""Number of bands of P.808's input."""

WINDOW_FRAMES, HOP_FRAMES = 900, HOP // FRAME

P835_SCALE = {
    "sig": (-0.08397278, 1.22083953, 0.0052439),
    "bak": (-0.13166888, 1.60915514, -0.39604546),
    "ovrl": (-0.06766283, 1.11546468, 0.04602535),
}
"""Polynomials from what the network says to opinion scores, in the order of its outputs."""


class _Dnsmos(NonIntrusiveMetric):
    family = "dnsmos"
    unit = "MOS"
    score: ClassVar[str]

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
    """DNSMOS P.835, how little the background intrudes, 1 to 5."""

    name = "dnsmos_bak"
    score = "bak"


class DnsmosP808(_Dnsmos):
    """DNSMOS P.808, overall quality, 1 to 5."""

    name = "dnsmos_p808"
    score = "p808"


def rate(recording: Recording) -> dict[str, float]:
    """{"sig", "bak", "ovrl", "p808"}: means over windows and channels.

    Raises:
        Unscorable: the recording is silent.
        DependencyError: `speechmos` or `onnx` is missing.
    """
    require("speechmos", "DNSMOS")
    if not is_there("onnx"):
        raise DependencyError(f"DNSMOS needs onnx, which is not installed: {install('mos')}")
    totals, count, loudest = np.zeros(4), 0, 0.0
    for samples, first, number, period in _groups(recording.blocks(SAMPLE_RATE)):
        loudest = max(loudest, float(np.abs(samples).max()))
        unlike = _unlike(number, period)
        kept = [n % unlike for n in range(number) if _counts(first + n)]
        for channel in samples:
            scores = np.column_stack((_p835(channel, unlike, period), _p808(channel, unlike)))
            totals += scores[kept].sum(axis=0)
            count += len(kept)
    if loudest == 0:
        raise Unscorable("the recording is silent")
    return dict(zip((*P835_SCALE, "p808"), (totals / count).tolist(), strict=True))


def window_count(length: int) -> int:
    """Windows of a recording of so many samples: `speechmos` asks for whole seconds."""
    return int(length // SAMPLE_RATE - LENGTH / SAMPLE_RATE) + 1


def _counts(window: int) -> bool:
    """Whether a window is among those that are averaged.

    `speechmos` cuts windows at (n + 9.01) * 16000, which is a sample short for some n in floating point, and
    leaves those out: the 8th to 24th, the 120th to 124th.
    """
    return int((window + LENGTH / SAMPLE_RATE) * HOP) - window * HOP == LENGTH


def _unlike(number: int, period: int) -> int:
    """How many windows come before the first comes again, in what repeats after a period."""
    return min(number, period // math.gcd(period, HOP)) if period else number


def _groups(blocks: Iterator[Waveform]) -> Iterator[tuple[Waveform, int, int, int]]:
    """(channels, samples) of some windows, the number of the first of them, how many they are, the period.

    What is too short for a window is repeated, with a period of its length; of others that is 0.
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
    """(windows, 3): SIG, BAK and OVRL, of samples that repeat after a period, 0 for never."""
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
"""Frames that the trunk makes one of."""

MARGIN = 8
"""Frames, a multiple of `POOLED`, around those that the trunk gives: it sees 6."""

PART = 400
"""Frames that the trunk takes at a time."""

EDGE_FRAMES = 16
AFFECTED = 2
"""What the trunk gives first and last of a window depends on where the window ends: so many are computed of
the window's first and last frames alone."""


def _repeated(trunk: Graph, frames: Waveform, period: int) -> Waveform:
    """As `_in_parts`; once over the frames after which the trunk's frames come again, if they are fewer."""
    cycle = math.lcm(period, FRAME * POOLED) // (FRAME * POOLED)
    once = cycle * POOLED + 2 * MARGIN
    if once >= len(frames):
        return _in_parts(trunk, frames)
    # What the beginning makes of the first frames does not come again; windows have their own there.
    shared = _in_parts(trunk, frames[:once])[:, AFFECTED : AFFECTED + cycle]
    return shared[:, (np.arange(len(frames) // POOLED) - AFFECTED) % cycle]


def _in_parts(trunk: Graph, frames: Waveform) -> Waveform:
    """What the trunk gives of (frames, samples): (channels, frames / 4, bands)."""
    parts = []
    for start in range(0, len(frames), PART):
        before, after = min(start, MARGIN), min(max(len(frames) - start - PART, 0), MARGIN)
        given = trunk(frames[None, start - before : start + PART + after])[0]
        parts.append(given[:, before // POOLED : (len(given[0]) * POOLED - after) // POOLED])
    return np.concatenate(parts, axis=1)


@functools.cache
def _p835_graphs() -> tuple[Graph, Graph]:
    """The network of P.835 cut in two: (B, frames, 320) -> (B, 32, frames / 4, 40), and that -> (B, 3)."""
    import onnx

    whole = onnx.load(graph_of_package("speechmos", "dnsmos_models/sig_bak_ovr.onnx"))
    framed = next(node for node in whole.graph.node if node.op_type == "Concat").output[0]
    pooled = [node for node in whole.graph.node if node.op_type == "MaxPool"][1].output[0]
    (output,) = (value.name for value in whole.graph.output)
    return Graph.cut(whole, framed, pooled), Graph.cut(whole, pooled, output)


def _p808(samples: Waveform, number: int) -> NDArray[np.float64]:
    """(windows,): the mean opinion score."""
    bank, window = _p808_analysis()
    # A window's first and last frame reach over its ends, where there is nothing.
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
    """Mel bands (161, 120) on Slaney's scale, of equal area, and the Hann window (321,).

    The bands are computed in double precision, as librosa does: some of the lowest hold but one small weight,
    of which `dsp.mel` would lose digits that count.
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
