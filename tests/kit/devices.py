"""Devices that are not there: sound in and out, called by hand or by a clock of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np

from audiotool.cli.keys import Wait
from audiotool.errors import DeviceError
from audiotool.live.backend import Callback, Device, Form
from audiotool.live.loop import LiveLoop
from kit.audio import speech_like
from kit.patience import wait_until

RATE, BLOCK = 16000, 256
DEVICES = (
    Device(0, "Built-in Audio", 2, 2, 48000),
    Device(1, "USB Headset Mono", 1, 2, RATE),
    Device(2, "USB Headset Mono 2", 1, 0, RATE),
    Device(3, "Speakers", 0, 2, 48000),
)
FORM = Form(1, 3, RATE, BLOCK, 1, 2)


class FakeStream:
    """A device stream that is called by hand, or by a clock."""

    def __init__(self, form: Form, callback: Callback) -> None:
        self.form, self.callback, self.active = form, callback, True
        self.latency_seconds = 0.02
        self.sound = speech_like(10.0, form.sample_rate)[0]
        self.position, self.played = 0, list[np.ndarray]()
        self.blocks: float = np.inf

    def start(self) -> None: ...

    def close(self) -> None:
        self.active = False

    def call(self) -> None:
        block = self.form.block
        came = np.take(self.sound, range(self.position, self.position + block), mode="wrap")
        wanted = np.full((block, self.form.outputs), np.nan, np.float32)
        self.callback(np.repeat(came[:, None], self.form.inputs, 1), wanted, False, False)
        self.position += block
        self.played.append(wanted[:, 0].copy())
        self.active = self.active and len(self.played) < self.blocks


class FakeBackend:
    """Devices of any kind."""

    def __init__(self, devices: Sequence[Device] = DEVICES, dies: Sequence[int] = ()) -> None:
        """`dies`: blocks after which each stream that is opened stops; 0 is a device that is gone."""
        self._devices, self._dies = devices, [*dies]
        self.stream: FakeStream | None = None

    def devices(self) -> Sequence[Device]:
        return self._devices

    def defaults(self) -> tuple[int | None, int | None]:
        return 1, 3

    def takes(self, form: Form) -> str | None:
        return None if form.sample_rate in (RATE, 48000) else "Invalid sample rate"

    def open(self, form: Form, callback: Callback) -> FakeStream:
        if self._dies and not self._dies[0]:
            raise DeviceError("the devices cannot be opened: No such entity")
        self.stream = stream = FakeStream(form, callback)
        if self._dies:
            stream.blocks = self._dies.pop(0)
        return stream


class Clock:
    """Time that passes only while the command waits for a key; the device is called as often as is due then.

    It stands in the place of the module `time` and of `cli.keys.keys`.
    """

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self._now = self._due = 0.0

    def monotonic(self) -> float:
        return self._now

    @contextlib.contextmanager
    def keys(self) -> Iterator[Wait]:
        yield self._wait

    def _wait(self, seconds: float) -> str:
        end, stream = self._now + seconds, self._backend.stream
        assert stream is not None
        while stream.active and self._due < end:
            self._now = max(self._now, self._due)
            stream.call()
            self._due += stream.form.block / stream.form.sample_rate
        self._now, self._due = end, max(self._due, end)
        return ""


class Line(FakeStream):
    """A stream whose input is its output, some samples later, and noise.

    Args:
        at_once: number of calls that come while it is started.
    """

    def __init__(
        self, form: Form, callback: Callback, delay: int, noise: float, gain: float, at_once: int
    ) -> None:
        super().__init__(form, callback)
        self._line, self._noise, self._gain, self._at_once = np.zeros(delay, np.float32), noise, gain, at_once
        self._rng = np.random.default_rng(0)

    def start(self) -> None:
        for _ in range(self._at_once):
            self.call()

    def call(self) -> None:
        block = self.form.block
        wanted = np.zeros((block, self.form.outputs), np.float32)
        came = self._line[:block] + self._noise * self._rng.standard_normal(block).astype(np.float32)
        self.callback(np.repeat(came[:, None], self.form.inputs, 1), wanted, False, False)
        self._line = np.concatenate((self._line[block:], self._gain * wanted[:, 0]))


class Loopback(FakeBackend):
    """A cable from output to input. The calls of its first stream, which is measured, come at once."""

    def __init__(self, delay: int, noise: float = 0.0, gain: float = 1.0) -> None:
        super().__init__()
        self._cable = (delay, noise, gain)

    def open(self, form: Form, callback: Callback) -> FakeStream:
        at_once = 4 * form.sample_rate // form.block if self.stream is None else 0
        self.stream = stream = Line(form, callback, *self._cable, at_once)
        return stream


def drained(loop: LiveLoop) -> None:
    """Wait until the model has had what came in and was not lost, or has failed."""
    wait_until(lambda: loop._error or loop.processed + loop._replaced == loop.callbacks * BLOCK)
