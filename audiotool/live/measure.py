"""Measure the latency of two devices: play bursts of noise and find them in the input.

The input must receive the output: by a cable, by a null sink whose monitor is the input, or by a loudspeaker
beside the microphone.
"""

from __future__ import annotations

import threading

import numpy as np

from audiotool.errors import DeviceError
from audiotool.live.backend import STOPPED, Backend, Form, Samples

BURSTS = 6
"""Number of bursts. The first is not evaluated, because buffers fill while it is played."""

SPACING_SECONDS = 0.5
"""Seconds from one burst to the next."""

LONGEST_SECONDS = 1.0
"""The longest round trip in seconds that can be measured. Bursts differ, so that a late one is not taken for
the next."""

BURST_SECONDS = 0.01
"""Length of a burst in seconds."""

LEVEL = 0.25
"""Absolute value of a burst's samples; full scale is 1."""

CLEAR = 8.0
"""Least ratio of the correlation's peak to its root mean square for a burst that was received."""

AGREE_SECONDS = 0.002
"""Greatest difference of the measured delays in seconds."""


def round_trip(backend: Backend, form: Form) -> float:
    """Measure the seconds from the writing of a sample to the output until the input returns it.

    Raises:
        DeviceError: the input does not receive the output, the delays differ, or the devices stop.
    """
    length, spacing, longest = (
        round(seconds * form.sample_rate) for seconds in (BURST_SECONDS, SPACING_SECONDS, LONGEST_SECONDS)
    )
    window = longest + length
    rng = np.random.default_rng(0)
    bursts = LEVEL * np.sign(rng.standard_normal((BURSTS, length))).astype(np.float32)
    received = _received(backend, form, bursts, spacing, window)
    windows = [received[n * spacing :][:window] for n in range(1, BURSTS)]
    found = np.stack([np.correlate(*pair, "valid") for pair in zip(windows, bursts[1:], strict=True)])
    clear = np.abs(found).max(axis=1) > CLEAR * np.sqrt(np.mean(np.square(found), axis=1)) + 1e-9
    if not clear.all():
        raise DeviceError(
            f"the input does not receive the output within {LONGEST_SECONDS:g} s: connect them by a"
            " cable, or by a null sink whose monitor is the input"
        )
    delays = np.abs(found).argmax(axis=1) / form.sample_rate
    if np.ptp(delays) > AGREE_SECONDS:
        least, most = 1000 * delays.min(), 1000 * delays.max()
        raise DeviceError(
            f"the round trip is from {least:.0f} to {most:.0f} ms: samples are lost (try a larger --block),"
            f" or it is longer than {LONGEST_SECONDS:g} s"
        )
    return float(np.median(delays))


def _received(backend: Backend, form: Form, bursts: Samples, spacing: int, window: int) -> Samples:
    """Play bursts (burst, time) and return the input until a window after the last has begun: (time,)."""
    total = (len(bursts) - 1) * spacing + window
    played = np.zeros(total + form.block, np.float32)
    for n, burst in enumerate(bursts):
        played[n * spacing : n * spacing + len(burst)] = burst
    received, done, position = np.zeros(total, np.float32), threading.Event(), 0

    def call(block: Samples, wanted: Samples, underflow: bool, overflow: bool) -> None:
        nonlocal position
        frames = min(len(block), total - position)
        wanted[:] = 0.0
        wanted[:frames] = played[position : position + frames, None]
        received[position : position + frames] = block[:frames].mean(axis=1)
        position += frames
        if position == total:
            done.set()

    stream = backend.open(form, call)
    try:
        stream.start()
        if not done.wait(2 * total / form.sample_rate + 3.0):
            raise DeviceError(STOPPED)
    finally:
        stream.close()
    return received
