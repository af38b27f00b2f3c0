"""PLCMOS: the mean opinion score of a recording from which packets were lost, without a reference.

The network (version 2) is Microsoft's, in the wheel of `speechmos` (MIT). It predicts the score of one
listener, whom a random vector describes; fifteen listeners are averaged. Here the vectors are those that
numpy gives after `numpy.random.seed(0)`. So a score is the same at every run, and equals that of the package
after this seed. Recordings of more than half a minute are rated in windows, weighted by their lengths.
Windows of digital silence do not count, nor do channels of it.

Reference: Diener et al., PLCMOS, Interspeech 2023, arXiv:2305.15127.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from audiotool.metrics.base import NonIntrusiveMetric, Recording, Unscorable, Waveform
from audiotool.metrics.graphs import Graph, graph_of_package

SAMPLE_RATE = 16000
LONGEST = 30 * SAMPLE_RATE
"""Greatest number of samples of a window."""

SHORTEST = SAMPLE_RATE // 4
"""Least number of samples that are rated."""

LISTENERS = 15
N_FFT, HOP = 512, 256
FLOOR_DB = -120.0
"""Level of bins without power, relative to the quietest other bin."""


class Plcmos(NonIntrusiveMetric):
    """PLCMOS v2, 1 to 5."""

    name = "plcmos"
    unit = "MOS"
    rates_channels = True
    needs = ("speechmos",)

    def rate(self, recording: Recording) -> float:
        self.check()
        scores, lengths = [], []
        for window in _windows(recording.heard(SAMPLE_RATE)):
            if window.shape[1] < SHORTEST:
                raise Unscorable("shorter than a quarter of a second")
            for channel in window:
                if channel.any():
                    scores.append(_score(channel))
                    lengths.append(len(channel))
        if not scores:
            raise Unscorable("the recording is silent")
        return float(np.average(scores, weights=lengths))


def _windows(blocks: Iterator[Waveform]) -> Iterator[Waveform]:
    """Yield windows (channels, time) of `LONGEST` samples; the last two are equal halves of the rest."""
    held: Waveform | None = None
    for block in blocks:
        held = block if held is None else np.concatenate((held, block), axis=1)
        while held.shape[1] >= 2 * LONGEST:
            yield held[:, :LONGEST]
            held = held[:, LONGEST:]
    if held is not None and held.shape[1]:
        yield from np.array_split(held, 1 + (held.shape[1] > LONGEST), axis=1)


def _score(samples: NDArray[np.float32]) -> float:
    features = _features(samples)[None, None]
    listeners = np.random.RandomState(0).normal(size=(LISTENERS, 1, 64)).astype(np.float32)
    return float(np.mean([_graph()(features, listener) for listener in listeners]))


def _features(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the network's input, log power (frames, 257)."""
    frames = -(-(len(samples) + N_FFT - HOP) // HOP)
    padded = np.zeros((frames - 1) * HOP + N_FFT, np.float32)
    padded[N_FFT - HOP :][: len(samples)] = samples
    spec = np.fft.rfft(sliding_window_view(padded, N_FFT)[::HOP] * np.hamming(N_FFT + 1)[:-1])
    power = np.square(np.abs(spec))
    sounds = power > 0
    # A window that is silent throughout is never rated.
    quietest = np.log(power[sounds].min()) + FLOOR_DB * np.log(10) / 10
    level = np.log(power, where=sounds, out=np.full_like(power, quietest))
    return (level / 20).astype(np.float32)


@functools.cache
def _graph() -> Graph:
    return Graph(graph_of_package("speechmos", "plcmos_models/plcmos_v2.onnx").read_bytes())
