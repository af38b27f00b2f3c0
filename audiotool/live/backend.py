"""What the loop asks of a sound system: its devices, and one stream from one of them to another.

`portaudio.PortAudio` is the real one; tests have others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audiotool.errors import DeviceError, PlanError

Samples = NDArray[np.float32]

Callback = Callable[[Samples, Samples, bool, bool], None]
"""Called with (frames, channels) that came in, (frames, channels) to fill, and whether the device has had
too little to play (underflow) or has lost input (overflow) since the last call."""


@dataclass(frozen=True)
class Device:
    """A sound device.

    Args:
        number: by which it is chosen.
        inputs, outputs: channels at most.
        sample_rate: its own, Hz.
    """

    number: int
    name: str
    inputs: int
    outputs: int
    sample_rate: int


@dataclass(frozen=True)
class Form:
    """How samples go in and out.

    Args:
        input, output: numbers of devices.
        sample_rate: Hz.
        block: samples a callback.
        inputs, outputs: channels.
        buffer_seconds: least length of the devices' buffers; 0 is the shortest that the devices offer.
    """

    input: int
    output: int
    sample_rate: int
    block: int
    inputs: int
    outputs: int
    buffer_seconds: float = 0.0


class DeviceStream(Protocol):
    """An open stream; it calls back from `start` on, in a thread of its own."""

    @property
    def active(self) -> bool:
        """Whether it still calls back."""

    @property
    def latency_seconds(self) -> float:
        """What the devices and their buffers hold back, input and output together."""

    def start(self) -> None:
        """Begin. DeviceError: the devices do not."""

    def close(self) -> None:
        """Stop and release the devices; they may be gone."""


class Backend(Protocol):
    """A sound system."""

    def devices(self) -> Sequence[Device]:
        """All there are."""

    def defaults(self) -> tuple[int | None, int | None]:
        """Numbers of the devices that are taken for input and output where none is named."""

    def takes(self, form: Form) -> str | None:
        """Why the devices refuse a form, None where they take it."""

    def open(self, form: Form, callback: Callback) -> DeviceStream:
        """A stream that has not begun. DeviceError: the devices refuse it."""


def choose(backend: Backend, asked: str | None, output: bool = False) -> Device:
    """The device that was asked for by its number or a part of its name, capitals or not.

    Raises:
        DeviceError: there is none.
        PlanError: what was asked for fits none, or several.
    """
    kind = "output" if output else "input"
    every = list(backend.devices())
    fitting = [device for device in every if (device.outputs if output else device.inputs)]
    if not fitting:
        raise DeviceError(f"there is no {kind} device: plug one in, or start the sound server")
    if asked is None:
        number = backend.defaults()[output]
        return next((device for device in fitting if device.number == number), fitting[0])
    if asked.isdecimal():
        found = [device for device in fitting if device.number == int(asked)]
    else:
        wanted = asked.casefold()
        found = [device for device in fitting if device.name.casefold() == wanted] or [
            device for device in fitting if wanted in device.name.casefold()
        ]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"{device.number} ({device.name})" for device in found)
        raise PlanError(f"--{kind} {asked} fits several devices, give a number: {names}")
    names = ", ".join(f"{device.number} ({device.name})" for device in fitting)
    is_there = any(asked in (str(device.number), device.name) for device in every)
    reason = f"device {asked} has no {kind}" if is_there else f"there is no {kind} device '{asked}'"
    raise PlanError(f"{reason}; there are: {names}")


def agree(
    backend: Backend, source: Device, sink: Device, rates: Sequence[int], block_of: Callable[[int], int]
) -> Form:
    """The first sample rate that both devices take, with one channel in if possible and up to two out.

    Args:
        rates: Hz, the best first.
        block_of: samples a callback at a rate.
    Raises:
        DeviceError: they take none of them.
    """
    reason: str | None = None
    for rate in dict.fromkeys(rates):
        for inputs in dict.fromkeys((1, min(2, source.inputs), source.inputs)):
            form = Form(source.number, sink.number, rate, block_of(rate), inputs, min(2, sink.outputs))
            refusal = backend.takes(form)
            if refusal is None:
                return form
            reason = reason or refusal
    tried = ", ".join(str(rate) for rate in dict.fromkeys(rates))
    raise DeviceError(
        f"'{source.name}' and '{sink.name}' do not run together at {tried} Hz ({reason}):"
        " give --rate HZ, or other devices (--list-devices)"
    )
