"""PortAudio through the package sounddevice: ALSA, PulseAudio, JACK, Core Audio, WASAPI."""

from __future__ import annotations

import contextlib
from typing import Any

from audiotool.errors import DependencyError, DeviceError
from audiotool.extras import PORTAUDIO, require
from audiotool.live.backend import Callback, Device, DeviceStream, Form, Samples


class PortAudio:
    """The sound system of this machine.

    Raises:
        DependencyError: sounddevice or PortAudio is not installed.
        DeviceError: PortAudio does not start.
    """

    def __init__(self) -> None:
        require("sounddevice", "the microphone")
        try:
            import sounddevice
        except OSError as error:
            raise DependencyError(
                f"the microphone needs the library PortAudio ({error}): {PORTAUDIO}"
            ) from error
        except Exception as error:  # sounddevice starts PortAudio when it is imported
            raise DeviceError(f"PortAudio does not start: {error}") from error
        self._library: Any = sounddevice

    def devices(self) -> list[Device]:
        """Return the devices that PortAudio found when it started."""
        return [
            Device(
                number,
                str(found["name"]),
                int(found["max_input_channels"]),
                int(found["max_output_channels"]),
                round(found["default_samplerate"]),
            )
            for number, found in enumerate(self._library.query_devices())
        ]

    def defaults(self) -> tuple[int | None, int | None]:
        """Return the numbers of PortAudio's default devices; None where there is none."""
        source, sink = self._library.default.device
        return (source if source >= 0 else None), (sink if sink >= 0 else None)

    def takes(self, form: Form) -> str | None:
        """Return why the devices refuse a format, each queried alone; None if they take it."""
        library = self._library
        common = {"dtype": "float32", "samplerate": form.sample_rate}
        try:
            library.check_input_settings(form.input, form.inputs, **common)
            library.check_output_settings(form.output, form.outputs, **common)
        except (library.PortAudioError, ValueError) as error:
            return _reason(error)
        return None

    def open(self, form: Form, callback: Callback) -> DeviceStream:
        """Return one stream for both devices, which PortAudio keeps synchronous.

        Raises:
            DeviceError: PortAudio refuses the format or the pair of devices.
        """
        return _Stream(self._library, form, callback)


class _Stream:
    def __init__(self, library: Any, form: Form, callback: Callback) -> None:
        def called(indata: Samples, outdata: Samples, frames: int, time: Any, status: Any) -> None:
            underflow = bool(status) and bool(status.output_underflow)
            overflow = bool(status) and bool(status.input_overflow)
            callback(indata, outdata, underflow, overflow)

        self._library = library
        try:
            self._stream = library.Stream(
                samplerate=form.sample_rate,
                blocksize=form.block,
                device=(form.input, form.output),
                channels=(form.inputs, form.outputs),
                dtype="float32",
                latency=form.buffer_seconds or "low",
                callback=called,
            )
        except (library.PortAudioError, ValueError) as error:
            raise DeviceError(f"the devices cannot be opened: {_reason(error)}") from error

    @property
    def active(self) -> bool:
        try:
            return bool(self._stream.active)
        except self._library.PortAudioError:
            return False

    @property
    def latency_seconds(self) -> float:
        return float(sum(self._stream.latency))

    def start(self) -> None:
        try:
            self._stream.start()
        except self._library.PortAudioError as error:
            raise DeviceError(f"the devices do not start: {_reason(error)}") from error

    def close(self) -> None:
        # A device that is gone returns errors.
        with contextlib.suppress(self._library.PortAudioError):
            self._stream.abort()
        with contextlib.suppress(self._library.PortAudioError):
            self._stream.close()


def _reason(error: Exception) -> str:
    """Return PortAudio's message, and the sound system's where PortAudio has none of its own."""
    message, _, system = (*error.args, None, None)[:3] if error.args else (str(error), None, None)
    return f"{message}: {system[2]}" if isinstance(system, tuple) else str(message)
