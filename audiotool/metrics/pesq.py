"""Perceptual evaluation of speech quality (ITU-T P.862), in a child process.

The standard's C code crashes on recordings with more than about 50 utterances, so a recording is cut into
equal windows of at most 15 s, each is scored in a worker process that may die, and the windows that hold
speech are averaged.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np

from audiotool.extras import EXTRAS, install, is_there
from audiotool.metrics.base import Metric, Pair, Unscorable, Waveform, equal_parts
from audiotool.metrics.pesq_worker import HEADER

WINDOW_S = 15
TIMEOUT_S = 120.0
SHORTEST_S = 0.25
WIDE_BAND_RATE = 16000
"""Hz from which `Pesq` is wide-band."""


class PesqWorker:
    """One worker process, started at the first call and again after each death.

    Args:
        timeout_s: a window that takes longer is given up.
        command: what is run; the worker of this package unless a test says otherwise.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S, command: list[str] | None = None) -> None:
        self.timeout_s = timeout_s
        self.command = command or [sys.executable, "-m", "audiotool.metrics.pesq_worker"]
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def score(self, reference: Waveform, estimate: Waveform, sample_rate: int, wide: bool) -> float | None:
        """PESQ of one window, as MOS-LQO; None when the reference holds no utterance.

        Args:
            reference, estimate: (time,) of equal length.
            sample_rate: 16000, or 8000 with wide False.
        Raises:
            Unscorable: PESQ refused, crashed or took too long.
        """
        body = np.concatenate((reference, estimate)).astype("<f4").tobytes()
        with self._lock:
            answer = self._ask(HEADER.pack(sample_rate, wide, len(reference)) + body)
        if "error" in answer:
            raise Unscorable(answer["error"])
        return answer.get("score")

    def close(self) -> None:
        """End the process; the next call starts another."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # what was still to be written has nobody to read it

    def _ask(self, request: bytes) -> dict[str, Any]:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        expired = threading.Event()

        def give_up() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(self.timeout_s, give_up)
        timer.start()
        try:
            process.stdin.write(request)
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = b""
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            return json.loads(line)
        process.wait()
        code = process.returncode
        self.close()
        if expired.is_set():
            return {"error": f"PESQ took more than {self.timeout_s:g} s"}
        return {"error": f"PESQ crashed ({f'signal {-code}' if code < 0 else f'exit code {code}'})"}

    def _running(self) -> subprocess.Popen[bytes]:
        # A process inherited through fork belongs to the parent.
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            self._owner = os.getpid()
        return self._process


WORKER = PesqWorker()
atexit.register(WORKER.close)


def windowed_pesq(pair: Pair, sample_rate: int, wide: bool, worker: PesqWorker = WORKER) -> float:
    """Mean PESQ over the windows of a pair in which the reference speaks."""
    if not is_there("pesq"):
        raise Unscorable(f"PESQ needs a C compiler and {install(EXTRAS['pesq'])}")
    pair.require_sound(estimate=True)
    reference, estimate = pair.at(sample_rate)
    if len(reference) < SHORTEST_S * sample_rate:
        raise Unscorable("shorter than PESQ's quarter of a second")
    parts = equal_parts(len(reference), WINDOW_S * sample_rate)
    scores = []
    for part in parts:
        if not reference[part].any():
            continue
        try:
            if not estimate[part].any():
                raise Unscorable("the estimate is silent")
            score = worker.score(reference[part], estimate[part], sample_rate, wide)
        except Unscorable as error:
            at = f" between {part.start / sample_rate:.1f} and {part.stop / sample_rate:.1f} s"
            raise Unscorable(f"{error}{at if len(parts) > 1 else ''}") from None
        if score is not None:
            scores.append(score)
    if not scores:
        raise Unscorable("PESQ finds no utterance in the reference")
    return float(np.mean(scores))


class Pesq(Metric):
    """PESQ: wide-band (P.862.2) at 16 kHz, narrow-band (P.862.1) at 8 kHz for recordings below 16 kHz."""

    name = "pesq"
    unit = "MOS"

    def measure(self, pair: Pair) -> float:
        wide = pair.sample_rate >= WIDE_BAND_RATE
        return windowed_pesq(pair, WIDE_BAND_RATE if wide else 8000, wide)


class NarrowBandPesq(Metric):
    """Narrow-band PESQ (P.862.1) at 8 kHz, whatever the recording's rate."""

    name = "pesq_nb"
    unit = "MOS"

    def measure(self, pair: Pair) -> float:
        return windowed_pesq(pair, 8000, wide=False)
