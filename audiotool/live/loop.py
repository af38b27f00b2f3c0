"""The loop between two devices: callback, queue, model, queue, callback.

The device's callback copies a block into one ring and a block out of another, and returns. The model runs in
a thread between the rings. A late callback is a gap in the sound, and some hops of the model take longer than
others (other programs run, a thread's first hop, an onset). In the callback each long hop would cause a gap.
In its own thread a hop may take the rest of the block and the length of the device's buffers. This costs one
block of latency, which is part of `latency_seconds`. The callback waits for nothing, writes no file and
allocates no memory for samples.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from dataclasses import dataclass

import numpy as np

from audiotool.errors import DeviceError
from audiotool.live.backend import STOPPED, Backend, Form, Samples
from audiotool.live.clock import InputClock
from audiotool.live.recorder import Recorder
from audiotool.live.ring import Ring
from audiotool.streaming.live_stream import LiveStream

RING_SECONDS = 1.0
"""Capacity of each ring in seconds. Input is lost if the model is further behind."""

GONE_SECONDS = 3.0
"""Seconds without a callback after which a device counts as stopped."""

ATTEMPTS = 3
"""Number of times in a row that a stopped stream is opened again. PortAudio also ends streams whose devices
are still there, after some underruns of ALSA."""

STEADY_SECONDS = 1.0
"""A stream that has run for so long after it was opened counts as recovered."""


@dataclass(frozen=True)
class Levels:
    """Greatest absolute samples since the last query; full scale is 1.

    Args:
        before: of the input.
        after: of the model's output.
    """

    before: float
    after: float


class LiveLoop:
    """A stream from one device through a model to another.

    Args:
        backend: the sound system.
        form: devices, sample rate and block.
        live: a stream of the same sample rate with one channel and one output.
        recorder: records input and output; the caller commits it.
        device_seconds: measured latency of the devices in seconds; None takes the value that they report.
    Attributes:
        underruns: number of output blocks that were silent, in part or as a whole, because output was late.
        overruns: number of input blocks that were lost: as the device reports, or because the model was late.
        callbacks: number of callbacks.
        processed: number of samples that the model has processed.
        reopened: number of times that the devices had stopped and were opened again.
        bypass: True plays the input with the latency of the output. It may be changed at any time.
    Raises:
        DeviceError: the devices refuse the format.
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
        room = max(round(RING_SECONDS * form.sample_rate), 8 * form.block)
        # A block is fed while the next one is recorded, and its output may lag by the stream's latency.
        self._delay = live.latency + form.block
        self._in, self._out = Ring(room), Ring(room + self._delay)
        self._out.write(np.zeros(self._delay, np.float32))
        self._mono = np.zeros(form.block, np.float32)
        # Samples of input that the callback has lost, and those of them that silence has replaced.
        self._lost = self._replaced = 0
        self._called = threading.Event()
        self._ending = False
        self._error: Exception | None = None
        self._last_call = self._last_check = time.monotonic()
        self._worker = threading.Thread(target=self._work, name="live", daemon=True)
        self._clock = InputClock(form.sample_rate)
        self._device_seconds = device_seconds
        self._stream = backend.open(form, self._call)

    @property
    def latency_seconds(self) -> float:
        """Latency from microphone to loudspeaker in seconds: devices, one block, model and resampling."""
        devices = self._device_seconds
        if devices is None:
            devices = self._stream.latency_seconds
        return devices + self._delay / self._form.sample_rate

    @property
    def seconds(self) -> float:
        """Seconds that the devices have played."""
        return self.callbacks * self._form.block / self._form.sample_rate

    @property
    def lost_seconds(self) -> float:
        """Seconds of input that drivers have lost without reporting it, see `InputClock`."""
        return self._clock.lost_seconds

    def start(self) -> None:
        """Start the devices and the model's thread.

        Raises:
            DeviceError: the devices do not start.
        """
        self._last_call = self._last_check = time.monotonic()
        self._worker.start()
        self._stream.start()

    def levels(self) -> Levels:
        """Return the levels since the last call."""
        found = Levels(self._before, self._after)
        self._before = self._after = 0.0
        return found

    def check(self) -> None:
        """Check that the stream still runs. A stream that has stopped is opened again.

        Raises:
            DeviceError: the devices are gone, or have stopped several times in a row.
            AudiotoolError: the model or a recording failed.
        """
        if self._error is not None:
            raise self._error
        if self._recorder is not None:
            self._recorder.check()
        now = time.monotonic()
        if now - self._last_check > GONE_SECONDS:
            self._last_call = now  # the program stood still (SIGSTOP), not the device
        self._last_check = now
        if now - self._last_call > GONE_SECONDS:
            raise self._stopped()
        if self._stream.active:
            return
        if (self.callbacks - self._began) * self._form.block > STEADY_SECONDS * self._form.sample_rate:
            self._attempts = 0
        self._attempts += 1
        if self._attempts > ATTEMPTS:
            raise self._stopped()
        self._reopen()

    def check_begun(self) -> None:
        """Check that samples have come.

        Raises:
            DeviceError: none have.
        """
        if not self.callbacks:
            raise self._stopped()

    def _reopen(self) -> None:
        """Open the stopped devices again, with buffers of twice the length.

        Raises:
            DeviceError: they are gone.
        """
        # The latency counts input and output: it is twice the length of a buffer.
        block_seconds = self._form.block / self._form.sample_rate
        longer = max(self._stream.latency_seconds, 2 * self._form.buffer_seconds, 2 * block_seconds)
        self._stream.close()
        self._began, self._last_call = self.callbacks, time.monotonic()
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
        return DeviceError(STOPPED)

    def stop(self) -> None:
        """Release the devices, and process the remaining input for the recording.

        Raises:
            Exception: the error of the model, or of its thread, also if `check` has raised it already.
        """
        self._stream.close()
        self._clock.close()
        self._ending = True
        self._called.set()
        if self._worker.is_alive():
            self._worker.join()
        if self._error is not None:
            raise self._error

    def _call(self, received: Samples, wanted: Samples, underflow: bool, overflow: bool) -> None:
        """Copy a block in and a block out, as the device's callback."""
        frames = len(received)
        mono = self._mono[:frames] if frames <= len(self._mono) else np.empty(frames, np.float32)
        np.mean(received, axis=1, out=mono)
        # After a lost block all are lost until silence has replaced it, so that the silence is in its place.
        if self._lost > self._replaced or not self._in.write(mono):
            self._lost += frames
            overflow = True
        missing = self._out.read(frames, mono)[1]
        wanted[:] = mono[:, None]
        self.callbacks += 1
        self.overruns += overflow
        self.underruns += bool(missing) or underflow
        self._last_call = time.monotonic()
        self._clock.take(frames, self._last_call)
        self._called.set()

    def _work(self) -> None:
        """Run the model, in a thread of its own."""
        try:
            ending = False
            while not ending:
                self._called.wait()
                self._called.clear()
                ending = self._ending  # no input comes from then on
                self._drain()
            if self.callbacks:
                self._record(1, np.asarray(self._live.flush()))
        except Exception as error:  # `check` and `stop` raise it in the main thread
            self._error = error

    def _drain(self) -> None:
        """Process all input, and play silence for what was lost after it, so that the latency does not
        change."""
        lost = self._lost
        while self._in.ready:
            self._step(self._in.read(min(self._in.ready, self._form.block))[0])
        if lost > self._replaced:
            silence = np.zeros(lost - self._replaced, np.float32)
            self._record(0, silence)
            self._play(silence)
            self._replaced = lost

    def _step(self, samples: Samples) -> None:
        # Some drivers pass uninitialised memory before the first sample has arrived.
        np.clip(np.nan_to_num(samples, copy=False), -1.0, 1.0, out=samples)
        mix = 0.0 if self.bypass else self._mix
        if self._live.settings.mix != mix:
            self._live.settings = dataclasses.replace(self._live.settings, mix=mix)
        self._before = max(self._before, float(np.abs(samples).max()))
        self._record(0, samples)
        self._play(self._live.feed(samples))
        self.processed += len(samples)

    def _play(self, output: Samples) -> None:
        if not len(output):
            return
        self._after = max(self._after, float(np.abs(output).max()))
        self._out.write(output)
        self._record(1, output)

    def _record(self, which: int, samples: Samples) -> None:
        if self._recorder is not None:
            self._recorder.put(which, samples)
