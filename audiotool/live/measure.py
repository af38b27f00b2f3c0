"""The latency of two devices, measured: bursts of noise are played and listened for.

A cable from the output to the input, a null sink whose monitor is the input, or a loudspeaker beside the
microphone lets the input hear the output.
"""

from __future__ import annotations

import threading

import numpy as np

from audiotool.errors import DeviceError
from audiotool.live.backend import Backend, Form, Samples

BURSTS = 6
"""The first one is not counted: buffers fill while it is played."""

SPACING_SECONDS = 0.5
"""Also the longest round trip that is found."""

BURST_SECONDS = 0.01
LEVEL = 0.25

CLEAR = 8.0
"""By which a burst stands out of the correlation's root mean square."""

AGREE_SECONDS = 0.002
"""By which the bursts may differ."""


def round_trip(backend: Backend, form: Form) -> float:
    """Seconds from a sample's being given to the output until it comes from the input.

    Raises:
        DeviceError: the input does not hear the output, or not equally late each time.
    """
    rng = np.random.default_rng(0)
    burst = LEVEL * np.sign(rng.standard_normal(round(BURST_SECONDS * form.sample_rate))).astype(np.float32)
    spacing = round(SPACING_SECONDS * form.sample_rate)
    heard = _heard(backend, form, burst, spacing)
    found = np.correlate(heard, burst, "valid")[: BURSTS * spacing].reshape(BURSTS, spacing)[1:]
    clear = np.abs(found).max(axis=1) > CLEAR * np.sqrt(np.mean(np.square(found), axis=1)) + 1e-9
    if not clear.all():
        raise DeviceError(
            "the input does not hear the output: connect them by a cable, or by a null sink whose monitor is"
            " the input"
        )
    delays = np.abs(found).argmax(axis=1) / form.sample_rate
    if np.ptp(delays) > AGREE_SECONDS:
        least, most = 1000 * delays.min(), 1000 * delays.max()
        raise DeviceError(
            f"the round trip is from {least:.0f} to {most:.0f} ms: samples are lost, try a larger --block"
        )
    return float(np.median(delays))


def _heard(backend: Backend, form: Form, burst: Samples, spacing: int) -> Samples:
    """What the input hears while bursts are played: one spacing more than there are bursts."""
    total = (BURSTS + 1) * spacing
    played = np.zeros(total + form.block, np.float32)
    for n in range(BURSTS):
        played[n * spacing : n * spacing + len(burst)] = burst
    heard, done, position = np.zeros(total, np.float32), threading.Event(), 0

    def call(came: Samples, wanted: Samples, underflow: bool, overflow: bool) -> None:
        nonlocal position
        frames = min(len(came), total - position)
        wanted[:] = 0.0
        wanted[:frames] = played[position : position + frames, None]
        heard[position : position + frames] = came[:frames].mean(axis=1)
        position += frames
        if position == total:
            done.set()

    stream = backend.open(form, call)
    try:
        stream.start()
        if not done.wait(2 * total / form.sample_rate + 3.0):
            raise DeviceError("the sound device has stopped: was it unplugged? Plug it in and start again")
    finally:
        stream.close()
    return heard
