"""Devices that are not there: sound in and out, called by hand or at real time."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np

from audiotool.errors import DeviceError
from audiotool.live.backend import Callback, Device, Form
from kit.audio import speech_like

RATE, BLOCK = 16000, 256
DEVICES = (
    Device(0, "Built-in Audio", 2, 2, 48000),
    Device(1, "USB Headset Mono", 1, 2, RATE),
    Device(2, "USB Headset Mono 2", 1, 0, RATE),
    Device(3, "Speakers", 0, 2, 48000),
)


class FakeStream:
    """A device stream that is called by hand, or by a thread at real time."""

    def __init__(self, form: Form, callback: Callback) -> None:
        self.form, self.callback, self.active = form, callback, True
        self.latency_seconds = 0.02
        self.paced: threading.Thread | None = None
        self.sound = speech_like(10.0, form.sample_rate)[0]
        self.position, self.played = 0, list[np.ndarray]()
        self.blocks: float = np.inf

    def start(self) -> None:
        if self.paced is not None:
            self.paced.start()

    def close(self) -> None:
        self.active = False
        if self.paced is not None:
            self.paced.join()

    def call(self) -> None:
        block = self.form.block
        came = np.take(self.sound, range(self.position, self.position + block), mode="wrap")
        wanted = np.full((block, self.form.outputs), np.nan, np.float32)
        self.callback(np.repeat(came[:, None], self.form.inputs, 1), wanted, False, False)
        self.position += block
        self.played.append(wanted[:, 0].copy())

    def at_real_time(self) -> None:
        due = time.monotonic()
        while self.active:
            self.call()
            self.active = self.active and len(self.played) < self.blocks
            due += self.form.block / self.form.sample_rate
            time.sleep(max(0.0, due - time.monotonic()))


class FakeBackend:
    """Devices of any kind; real time where asked."""

    def __init__(
        self, devices: Sequence[Device] = DEVICES, paced: bool = False, dies: Sequence[int] = ()
    ) -> None:
        """`dies`: blocks after which each stream that is opened stops; 0 is a device that is gone."""
        self._devices, self._paced, self._dies = devices, paced, [*dies]
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
        if self._paced:
            stream.paced = threading.Thread(target=stream.at_real_time)
        if self._dies:
            stream.blocks = self._dies.pop(0)
        return stream
