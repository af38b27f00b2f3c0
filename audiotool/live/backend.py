"""The interface of sound systems, and the choice of devices and of a sample rate.

`portaudio.PortAudio` implements it. Tests use implementations without devices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audiotool.errors import DeviceError, PlanError

Samples = NDArray[np.float32]

STOPPED = "the sound device has stopped: was it unplugged? Plug it in and start again"
"""The error of a device that gives no more samples."""

Callback = Callable[[Samples, Samples, bool, bool], None]
"""Function of (input (frames, channels), output (frames, channels) to fill, underflow, overflow).

`underflow`: the output device had too few samples since the last call. `overflow`: the input device has lost
samples since then.
"""


@dataclass(frozen=True)
class Device:
    """A sound device.

    Args:
        number: index by which the device is chosen.
        name: as the sound system has it.
        inputs, outputs: greatest number of channels; 0 where the device has no input or no output.
        sample_rate: default of the device in Hz.
    """

    number: int
    name: str
    inputs: int
    outputs: int
    sample_rate: int


@dataclass(frozen=True)
class Form:
    """The format of a stream between two devices.

    Args:
        input, output: numbers of the devices.
        sample_rate: Hz, of both devices.
        block: samples a channel of each callback.
        inputs, outputs: numbers of channels.
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
    """A stream between two devices, which calls its callback in a thread of its own."""

    @property
    def active(self) -> bool:
        """Whether the stream still calls its callback."""

    @property
    def latency_seconds(self) -> float:
        """Latency of both devices and their buffers together, in seconds."""

    def start(self) -> None:
        """Start the callbacks.

        Raises:
            DeviceError: the devices do not start.
        """

    def close(self) -> None:
        """Stop the callbacks and release the devices, also if they are gone."""


class Backend(Protocol):
    """A sound system."""

    def devices(self) -> Sequence[Device]:
        """Return all devices."""

    def defaults(self) -> tuple[int | None, int | None]:
        """Return the numbers of the default input and output devices; None where there is none."""

    def takes(self, form: Form) -> str | None:
        """Return the reason why the devices refuse a format; None if they take it."""

    def open(self, form: Form, callback: Callback) -> DeviceStream:
        """Return a stream that has not started.

        Raises:
            DeviceError: the devices refuse the format.
        """


def choose(backend: Backend, asked: str | None, output: bool = False) -> Device:
    """Return the input or output device with a number, or with a part of a name.

    Args:
        asked: the number, or a part of the name in any case; None takes the default device.
        output: True chooses an output device.
    Raises:
        DeviceError: the sound system has no such devices.
        PlanError: `asked` fits no device, or several.
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
    """Return the format with the first sample rate that both devices take.

    It has one input channel if the device allows that, and at most two output channels.

    Args:
        source, sink: input and output device.
        rates: sample rates in Hz, the preferred one first.
        block_of: function of a sample rate that returns the samples of a callback.
    Raises:
        DeviceError: the devices take none of the rates.
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
