"""Perceptual evaluation of speech quality (ITU-T P.862), in a child process.

The standard's C code crashes on recordings with more than about 50 utterances, so a recording is cut into
equal windows of at most 15 s, each is scored in a worker process that may die, and the windows that hold
speech are averaged.
"""

from __future__ import annotations

import numpy as np

from audiotool.errors import DependencyError
from audiotool.extras import EXTRAS, install, is_there
from audiotool.interpreter import python
from audiotool.metrics.base import Metric, NothingToMeasure, Pair, Unscorable, Waveform
from audiotool.metrics.child import Child
from audiotool.metrics.pesq_worker import HEADER

WINDOW_S = 15
TIMEOUT_S = 120.0
SHORTEST_S = 0.25
WIDE_BAND_RATE, NARROW_BAND_RATE = 16000, 8000
"""Hz of the signals that wide-band PESQ (P.862.2) and narrow-band PESQ (P.862.1) compare."""

RATES: tuple[int, ...] = (WIDE_BAND_RATE, NARROW_BAND_RATE)

SERVE = "from audiotool.metrics.pesq_worker import serve\nserve()"


class PesqWorker(Child):
    """One worker process.

    Args:
        timeout_s: a window that takes longer is given up.
        command: what is run; the worker of this package unless a test says otherwise.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S, command: list[str] | None = None) -> None:
        super().__init__("PESQ", command or python(SERVE), timeout_s)

    def score(self, reference: Waveform, estimate: Waveform, sample_rate: int) -> float | None:
        """PESQ of one window, as MOS-LQO; None when the reference holds no utterance.

        Args:
            reference, estimate: (time,) of equal length.
            sample_rate: `WIDE_BAND_RATE` or `NARROW_BAND_RATE`.
        Raises:
            Unscorable: PESQ refused, crashed or took too long.
        """
        body = np.concatenate((reference, estimate)).astype("<f4").tobytes()
        return self.ask(HEADER.pack(sample_rate, len(reference)) + body).get("score")


WORKER = PesqWorker()


def check_pesq() -> None:
    """Check that PESQ is installed.

    Raises:
        DependencyError: it is not.
    """
    if not is_there("pesq"):
        raise DependencyError(f"PESQ needs a C compiler and {install(EXTRAS['pesq'])}")


class ByPesq(Metric):
    """Base of the metrics that need PESQ."""

    unit = "MOS"
    rates = RATES

    @classmethod
    def check(cls) -> None:
        check_pesq()


def rate_of_band(pair: Pair) -> int:
    """Return the rate of metrics that have a narrow band: 16 kHz, or 8 kHz for recordings below 16 kHz."""
    return WIDE_BAND_RATE if pair.sample_rate >= WIDE_BAND_RATE else NARROW_BAND_RATE


def windowed_pesq(pair: Pair, sample_rate: int, worker: PesqWorker = WORKER) -> float:
    """Return the mean PESQ over the windows of a pair in which the reference has speech."""
    check_pesq()
    pair.require_sound(estimate=True)
    length = pair.length(sample_rate)
    if length < SHORTEST_S * sample_rate:
        raise Unscorable("shorter than PESQ's quarter of a second")
    scores = []
    for part, (reference, estimate) in pair.windows(sample_rate, WINDOW_S * sample_rate):
        if not reference.any():
            continue
        try:
            if not estimate.any():
                raise Unscorable("the estimate is silent")
            score = worker.score(reference, estimate, sample_rate)
        except Unscorable as error:
            at = f" between {part.start / sample_rate:.1f} and {part.stop / sample_rate:.1f} s"
            raise Unscorable(f"{error}{at if part.stop - part.start < length else ''}") from None
        if score is not None:
            scores.append(score)
    if not scores:
        raise NothingToMeasure("PESQ finds no utterance in the reference")
    return float(np.mean(scores))


class Pesq(ByPesq):
    """PESQ: wide-band (P.862.2) at 16 kHz, narrow-band (P.862.1) at 8 kHz for recordings below 16 kHz."""

    name = "pesq"
    has_narrow_band = True

    def measure(self, pair: Pair) -> float:
        return windowed_pesq(pair, rate_of_band(pair))


class NarrowBandPesq(ByPesq):
    """Narrow-band PESQ (P.862.1) at 8 kHz, whatever the recording's rate."""

    name = "pesq_nb"
    rates = (NARROW_BAND_RATE,)

    def measure(self, pair: Pair) -> float:
        return windowed_pesq(pair, NARROW_BAND_RATE)
