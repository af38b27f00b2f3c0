"""The loop between two devices: callback, queue, model, queue, callback.

The device's callback copies a block into one ring and a block out of another, and returns; the model runs in
a thread between them. A callback that is late is a gap in the sound, and a hop of the model takes longer now
and then (other programs, the first hop of a thread, an onset): in the callback each such hop would be heard,
here it has the rest of the block and whatever the device's own buffers hold. The price is one block of
latency, which is part of `latency_seconds`. The callback waits for nothing, writes to no disk, allocates no
samples.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from dataclasses import dataclass

import numpy as np

from audiotool.errors import DeviceError
from audiotool.live.backend import Backend, Form, Samples
from audiotool.live.clock import InputClock
from audiotool.live.recorder import Recorder
from audiotool.live.ring import Ring
from audiotool.pipeline import LiveStream

HELD_SECONDS = 1.0
"""What each ring holds; a model that falls further behind loses input."""

GONE_SECONDS = 3.0
"""A device that has not called for so long has been unplugged, or hangs."""

ATTEMPTS = 3
"""Number of times in a row that a stopped stream is opened again. PortAudio also ends streams whose devices
are still there, after some underruns of ALSA."""

STEADY_SECONDS = 1.0
"""A stream that has run for so long after it was opened counts as recovered."""


@dataclass(frozen=True)
class Levels:
    """Peaks since they were asked for last, of full scale 1."""

    before: float
    after: float


class LiveLoop:
    """A stream from one device through a model to another.

    Args:
        backend: the sound system.
        form: devices, rate and block.
        live: a stream of the form's rate, one channel, one output.
        recorder: gets input and output; the caller commits it.
        device_seconds: the devices' latency as it was measured; None is what they say of themselves.
    Attributes:
        underruns: blocks, whole or in part, that were silence because the output was late.
        overruns: blocks of input that were lost, as the device says, or because the model is behind.
        callbacks: blocks so far.
        processed: samples that the model has had.
        reopened: number of times that the devices had stopped and were opened again.
        bypass: set it, and the input is heard as it is, as late as the output would be.
    """

    def __init__(
        self,
        backend: Backend,
        form: Form,
        live: LiveStream,
        recorder: Recorder | None = None,
        device_seconds: float | None = None,
    ) -> None:
        self.underruns = self.overruns = self.callbacks = self.processed = self.reopened = 0
        self._backend, self._attempts, self._began = backend, 0, 0
        self._form, self._live, self._recorder = form, live, recorder
        self._mix = live.settings.mix
        self.bypass = False
        self._before = self._after = 0.0
        room = max(round(HELD_SECONDS * form.sample_rate), 8 * form.block)
        # A block is fed while the next one is recorded, and its output may lag by the stream's latency.
        self._held = live.latency + form.block
        self._in, self._out = Ring(room), Ring(room + self._held)
        self._out.write(np.zeros(self._held, np.float32))
        self._mono = np.zeros(form.block, np.float32)
        self._lost = 0
        self._called = threading.Event()
        self._ending = False
        self._error: Exception | None = None
        self._heard = time.monotonic()
        self._worker = threading.Thread(target=self._work, name="live", daemon=True)
        self._clock = InputClock(form.sample_rate)
        self._device_seconds = device_seconds
        self._stream = backend.open(form, self._call)

    @property
    def latency_seconds(self) -> float:
        """From the microphone to the loudspeaker: devices, one block, model, resampling."""
        devices = self._device_seconds
        if devices is None:
            devices = self._stream.latency_seconds
        return devices + self._held / self._form.sample_rate

    @property
    def lost_seconds(self) -> float:
        """Input that has not come, by the clock: drivers lose some without saying so."""
        return self._clock.lost_seconds

    def start(self) -> None:
        """Begin; DeviceError: the devices do not."""
        self._heard = time.monotonic()
        self._worker.start()
        self._stream.start()

    def levels(self) -> Levels:
        """Before and after the model, since the last call."""
        found = Levels(self._before, self._after)
        self._before = self._after = 0.0
        return found

    def check(self) -> None:
        """See whether all still goes on.

        Raises:
            DeviceError: the devices have stopped.
            AudiotoolError: the model or a recording failed.
        """
        if self._error is not None:
            raise self._error
        if self._recorder is not None:
            self._recorder.check()
        if time.monotonic() - self._heard > GONE_SECONDS:
            raise self._stopped()
        if self._stream.active:
            return
        if (self.callbacks - self._began) * self._form.block > STEADY_SECONDS * self._form.sample_rate:
            self._attempts = 0
        self._attempts += 1
        if self._attempts > ATTEMPTS:
            raise self._stopped()
        self._reopen()

    def _reopen(self) -> None:
        """Open the stopped devices again, with twice the buffers.

        Raises:
            DeviceError: they are gone.
        """
        # The latency counts input and output: it is twice the length of a buffer.
        block_seconds = self._form.block / self._form.sample_rate
        longer = max(self._stream.latency_seconds, 2 * self._form.buffer_seconds, 2 * block_seconds)
        self._stream.close()
        self._began, self._heard = self.callbacks, time.monotonic()
        self._form = dataclasses.replace(self._form, buffer_seconds=longer)
        self._device_seconds = None
        try:
            self._stream = self._backend.open(self._form, self._call)
            self._stream.start()
        except DeviceError as error:
            raise self._stopped() from error
        self.reopened += 1

    def _stopped(self) -> DeviceError:
        if not self.callbacks:
            return DeviceError(
                "the sound device gives no samples: give a larger --block, or other devices (--list-devices)"
            )
        return DeviceError("the sound device has stopped: was it unplugged? Plug it in and start again")

    def stop(self) -> None:
        """Release the devices; what they gave is processed to its end, for the recording."""
        self._stream.close()
        self._clock.close()
        self._ending = True
        self._called.set()
        if self._worker.is_alive():
            self._worker.join()

    def _call(self, came: Samples, wanted: Samples, underflow: bool, overflow: bool) -> None:
        """The device's callback: copies, and nothing else."""
        frames = len(came)
        mono = self._mono[:frames] if frames <= len(self._mono) else np.empty(frames, np.float32)
        np.mean(came, axis=1, out=mono)
        if not self._in.write(mono):
            self._lost += frames
            overflow = True
        missing = self._out.read(frames, mono)[1]
        wanted[:] = mono[:, None]
        self.callbacks += 1
        self.overruns += overflow
        self.underruns += bool(missing) or underflow
        self._heard = time.monotonic()
        self._clock.take(frames, self._heard)
        self._called.set()

    def _work(self) -> None:
        """The model's thread."""
        forgotten = 0
        try:
            while not self._ending or self._in.ready:
                self._called.wait()
                self._called.clear()
                lost = self._lost
                while self._in.ready:
                    self._step(self._in.read(min(self._in.ready, self._form.block))[0])
                if lost > forgotten:
                    # Silence in place of what was lost, so that the latency stays what it is.
                    silence = np.zeros(lost - forgotten, np.float32)
                    self._keep(0, silence)
                    self._give(silence)
                    forgotten = lost
                if self._ending:
                    self._called.set()
            if self.callbacks:
                self._keep(1, np.asarray(self._live.flush()))
        except Exception as error:  # `check` tells it where somebody listens
            self._error = error

    def _step(self, samples: Samples) -> None:
        # Some drivers give whatever was in memory before the first sample has come.
        np.clip(np.nan_to_num(samples, copy=False), -1.0, 1.0, out=samples)
        mix = 0.0 if self.bypass else self._mix
        if self._live.settings.mix != mix:
            self._live.settings = dataclasses.replace(self._live.settings, mix=mix)
        self._before = max(self._before, float(np.abs(samples).max()))
        self._keep(0, samples)
        self._give(self._live.feed(samples))
        self.processed += len(samples)

    def _give(self, output: Samples) -> None:
        if not len(output):
            return
        self._after = max(self._after, float(np.abs(output).max()))
        self._out.write(output)
        self._keep(1, output)

    def _keep(self, which: int, samples: Samples) -> None:
        if self._recorder is not None:
            self._recorder.put(which, samples)
