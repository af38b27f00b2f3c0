"""The live loop between devices that are not there: time, gaps, recordings, endings."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like
from kit.devices import BLOCK, DEVICES, RATE, Clock, FakeBackend, FakeStream
from kit.patience import PATIENCE, wait_until
from typer.testing import CliRunner

import audiotool
from audiotool.audio.writer import FileWriter
from audiotool.cli import live as command
from audiotool.cli.app import app
from audiotool.errors import AudiotoolError, DependencyError, DeviceError, PlanError
from audiotool.live import loop as live_loop
from audiotool.live.backend import Callback, Form, agree, choose
from audiotool.live.clock import InputClock
from audiotool.live.loop import ATTEMPTS, LiveLoop
from audiotool.live.measure import round_trip
from audiotool.live.recorder import Recorder
from audiotool.live.ring import Ring


@pytest.fixture(scope="module")
def pipeline() -> audiotool.Pipeline:
    return audiotool.load("denoise-tiny-16k", engine="onnx", threads=1)


FORM = Form(1, 3, RATE, BLOCK, 1, 2)


def drained(loop: LiveLoop) -> None:
    """Wait until the model has had what came in."""
    wait_until(lambda: loop.processed == loop.callbacks * BLOCK)


def test_output_is_the_stream_s_at_the_declared_latency(pipeline: audiotool.Pipeline) -> None:
    backend = FakeBackend()
    stream = pipeline.live(RATE)
    loop = LiveLoop(backend, FORM, stream)
    loop.start()
    fake = backend.stream
    assert fake is not None
    for _ in range(200):
        fake.call()
        drained(loop)
    loop.stop()
    played = np.concatenate(fake.played)
    delay = round((loop.latency_seconds - fake.latency_seconds) * RATE)
    assert delay == stream.latency + BLOCK
    captured = np.take(fake.sound, range(len(played)), mode="wrap")
    reference = pipeline.live(RATE)
    expected = np.concatenate([reference.feed(captured), np.asarray(reference.flush())])
    assert not played[:delay].any()
    np.testing.assert_allclose(played[delay:], expected[: len(played) - delay], atol=1e-5)
    assert (loop.underruns, loop.overruns, loop.callbacks) == (0, 0, 200)


def test_a_minute(pipeline: audiotool.Pipeline) -> None:
    """Nothing drifts: the last block is as late as the first."""
    backend = FakeBackend()
    loop = LiveLoop(backend, FORM, pipeline.live(RATE))
    loop.start()
    fake = backend.stream
    assert fake is not None
    while fake.position < 60 * RATE:
        fake.call()
        drained(loop)
    loop.stop()
    played, delay = np.concatenate(fake.played), loop._delay
    captured = np.take(fake.sound, range(len(played)), mode="wrap")
    reference = pipeline.live(RATE)
    expected = np.concatenate([reference.feed(captured), np.asarray(reference.flush())])
    np.testing.assert_allclose(played[delay:], expected[: len(played) - delay], atol=1e-5)
    assert (loop.underruns, loop.overruns, loop.callbacks) == (0, 0, 60 * RATE // BLOCK)


def clocked(*events: tuple[float, int], rate: int = RATE) -> float:
    """What a clock says is lost after callbacks of so many samples at so many seconds."""
    clock = InputClock(rate)
    for now, frames in events:
        clock.take(frames, now)
    clock.close()
    return clock.lost_seconds


def steady(begin: float, seconds: float, speed: float = 1.0) -> list[tuple[float, int]]:
    """Callbacks as they are due, each up to 4 ms late."""
    rng, step = np.random.default_rng(0), BLOCK / RATE / speed
    return [(begin + n * step + 0.004 * rng.random(), BLOCK) for n in range(round(seconds / step))]


def test_input_that_is_lost_without_a_word() -> None:
    assert clocked(*steady(0, 30)) == 0.0
    assert clocked(*steady(0, 600, 1.0002)) == 0.0
    assert clocked(*steady(0, 600, 0.9998)) == 0.0
    # A stall, after which all comes at once, has lost nothing.
    stalled = [(max(now, 6.4) if 6.0 < now < 6.4 else now, frames) for now, frames in steady(0, 12)]
    assert clocked(*stalled) == 0.0
    gone = [(now, frames) for now, frames in steady(0, 12) if not 6.0 < now < 6.4]
    assert clocked(*gone) == pytest.approx(0.4, abs=0.02)
    dropped = [event for n, event in enumerate(steady(0, 30)) if n % 100]
    assert clocked(*dropped) == pytest.approx(30 / 100, rel=0.2)


def test_the_loop_holds_its_input_against_the_clock(
    pipeline: audiotool.Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, now = FakeBackend(), [0.0]
    monkeypatch.setattr(live_loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    loop = LiveLoop(backend, FORM, pipeline.live(RATE))
    fake = backend.stream
    assert fake is not None
    for n in range(400):
        now[0] += BLOCK / RATE * (1 if n != 200 else 10)
        fake.call()
    assert loop.lost_seconds == pytest.approx(9 * BLOCK / RATE, abs=1e-3)
    assert "0.14 s of input lost" in command.meter_line(loop)


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


@pytest.mark.parametrize(("delay", "noise", "gain"), [(700, 0.0, 1.0), (1801, 0.02, -0.2), (7000, 0.1, 1.0)])
def test_a_round_trip_is_measured(delay: int, noise: float, gain: float) -> None:
    assert round_trip(Loopback(delay, noise, gain), FORM) * RATE == pytest.approx(delay)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_an_input_that_does_not_hear_the_output(noise: float) -> None:
    with pytest.raises(DeviceError, match="does not receive the output"):
        round_trip(Loopback(700, noise, 0.0), FORM)


def test_the_measured_latency_is_the_path_s(pipeline: audiotool.Pipeline) -> None:
    """An impulse in a loop of cable and bypass comes back after the latency that is told."""
    delay = 1000
    devices = round_trip(Loopback(delay), FORM)
    backend = FakeBackend()
    loop = LiveLoop(backend, FORM, pipeline.live(RATE), device_seconds=devices)
    loop.bypass = True
    loop.start()
    line = np.zeros(delay, np.float32)
    line[BLOCK // 3] = 0.5
    captured = []
    for _ in range(30):
        came, wanted = line[:BLOCK].copy(), np.zeros((BLOCK, 2), np.float32)
        captured.append(came)
        loop._call(came[:, None], wanted, False, False)
        drained(loop)
        line = np.concatenate((line[BLOCK:], wanted[:, 0]))
    loop.stop()
    clicks = np.flatnonzero(np.abs(np.concatenate(captured)) > 0.4)
    assert set(np.diff(clicks)) == {round(loop.latency_seconds * RATE)}


def test_bypass_is_the_input_as_late(pipeline: audiotool.Pipeline) -> None:
    backend = FakeBackend()
    loop = LiveLoop(backend, FORM, pipeline.live(RATE))
    loop.bypass = True
    loop.start()
    fake = backend.stream
    assert fake is not None
    for _ in range(40):
        fake.call()
        drained(loop)
    loop.stop()
    played, delay = np.concatenate(fake.played), loop._delay
    np.testing.assert_allclose(played[delay:], fake.sound[: len(played) - delay], atol=1e-6)
    levels = loop.levels()
    assert levels.before == pytest.approx(np.abs(fake.sound[: len(played)]).max(), abs=1e-6)
    assert loop.levels().before == 0.0


def test_late_output_is_a_gap_and_no_more_latency(pipeline: audiotool.Pipeline) -> None:
    backend = FakeBackend()
    loop = LiveLoop(backend, FORM, pipeline.live(RATE))
    loop.bypass = True
    fake = backend.stream
    assert fake is not None
    for _ in range(20):  # the model has not begun
        fake.call()
    assert 0 < loop.underruns < 20
    loop.start()
    drained(loop)
    for _ in range(20):
        fake.call()
        drained(loop)
    loop.stop()
    played, delay = np.concatenate(fake.played), loop._delay
    end = 21 * BLOCK
    np.testing.assert_allclose(played[end:], fake.sound[end - delay : len(played) - delay], atol=1e-6)


def test_input_that_is_lost_is_counted(pipeline: audiotool.Pipeline, tmp_path: Path) -> None:
    backend = FakeBackend()
    recorder = Recorder(tmp_path / "in.wav", tmp_path / "out.wav", RATE)
    loop = LiveLoop(backend, FORM, pipeline.live(RATE), recorder)
    fake = backend.stream
    assert fake is not None
    for _ in range(RATE // BLOCK + 10):
        fake.call()
    assert loop.overruns == 10
    loop.start()
    loop.stop()
    recorder.commit()
    frames = {soundfile.info(str(tmp_path / name)).frames for name in ("in.wav", "out.wav")}
    assert frames == {(RATE // BLOCK + 10) * BLOCK}


def test_a_disk_that_is_too_slow_costs_samples_and_no_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    goes_on = threading.Event()
    write = FileWriter.write

    def stalled(writer: FileWriter, block: np.ndarray) -> None:
        goes_on.wait(PATIENCE)
        write(writer, block)

    monkeypatch.setattr(FileWriter, "write", stalled)
    monkeypatch.setattr("audiotool.live.recorder.QUEUE_BLOCKS", 5)
    places = (tmp_path / "in.wav", tmp_path / "out.wav")
    recorder = Recorder(*places, RATE)
    values = np.arange(1, 11, dtype=np.float32) / 16
    for value in values[:9]:
        for which in (0, 1):
            recorder.put(which, np.full(BLOCK, value))
    goes_on.set()
    wait_until(recorder._blocks.empty)
    recorder.put(0, np.full(BLOCK, values[9]))
    recorder.commit()
    assert recorder.lost > 0
    before, after = (soundfile.read(str(place), dtype="float32")[0].reshape(-1, BLOCK) for place in places)
    assert (len(before), len(after)) == (10, 9)
    for blocks in (before, after):
        assert ((blocks == values[: len(blocks), None]) | (blocks == 0)).all()
    assert (before[-1] == values[9]).all()
    assert not after[-1].any()


def test_a_ring_keeps_time() -> None:
    ring = Ring(8)
    assert ring.write(np.arange(5, dtype=np.float32))
    assert not ring.write(np.zeros(4, np.float32))
    assert ring.read(7)[0].tolist() == [0, 1, 2, 3, 4, 0, 0]
    assert ring.write(np.arange(5, 10, dtype=np.float32))
    taken, missing = ring.read(4)
    assert (taken.tolist(), missing) == ([7, 8, 9, 0], 1)


class Awaited(LiveLoop):
    """A loop whose model has had what came in whenever the command looks at it."""

    def check(self) -> None:
        drained(self)
        super().check()


def run(monkeypatch: pytest.MonkeyPatch, backend: FakeBackend, *words: object) -> tuple[int, str]:
    """The command, with these devices and their clock."""
    clock = Clock(backend)
    monkeypatch.setattr(command, "open_backend", lambda: backend)
    monkeypatch.setattr(command, "keys", clock.keys)
    for module in (command, live_loop):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(live_loop, "LiveLoop", Awaited)
    done = CliRunner().invoke(app, ["live", *map(str, words)])
    return done.exit_code, done.output


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    places = (tmp_path / "in.wav", tmp_path / "out.wav")
    words = ("--model", "denoise-tiny-16k", "--seconds", 1.5, "--record", *places)
    code, output = run(monkeypatch, FakeBackend(), *words)
    assert code == 0, output
    assert "16000 Hz, blocks of 256: 68 ms from end to end, 32 of them the model's" in output
    (before, rate), (after, _) = (soundfile.read(str(place)) for place in places)
    assert rate == RATE
    assert len(before) == len(after) == 94 * BLOCK, "1.5 s, and the rest of a block"
    assert np.abs(before).max() > 0.1
    assert np.abs(after).max() > 0.01
    code, output = run(monkeypatch, FakeBackend(), *words)
    assert code == 2
    assert "exists already" in output


def test_the_command_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cable(Loopback):
        def open(self, form: Form, callback: Callback) -> FakeStream:
            opened = super().open(form, callback)
            opened.latency_seconds = 0.5  # what it says of itself is not told
            return opened

    words = ("--model", "denoise-tiny-16k", "--seconds", 0.3, "--measure")
    code, output = run(monkeypatch, Cable(1600), *words)
    assert code == 0, output
    assert "blocks of 256: 148 ms from end to end, measured, 32 of them the model's" in " ".join(
        output.split()
    )
    code, output = run(monkeypatch, Loopback(1600, gain=0.0), *words)
    assert code == 2
    assert "does not receive the output" in output


def test_a_device_that_goes_keeps_the_recording(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As PortAudio does when a sound server loses its sink: the stream stops and cannot be opened again."""
    places = (tmp_path / "in.wav", tmp_path / "out.wav")
    words = ("--model", "denoise-tiny-16k", "--record", *places)
    code, output = run(monkeypatch, FakeBackend(dies=[30, 0]), *words)
    assert code == 2
    assert output.splitlines()[-1] == (
        "audiotool: error: the sound device has stopped: was it unplugged? Plug it in and start again"
    )
    before, after = (soundfile.read(str(place))[0] for place in places)
    assert len(before) == len(after) == 30 * BLOCK
    np.testing.assert_allclose(before, speech_like(10.0, RATE)[0][: len(before)], atol=2**-15)
    stream = audiotool.load("denoise-tiny-16k", engine="onnx").live(RATE)
    x = speech_like(10.0, RATE)[0][: len(before)]
    expected = np.concatenate([stream.feed(x), np.asarray(stream.flush())])
    np.testing.assert_allclose(after, expected, atol=2**-12)


def test_a_stream_that_stops_is_opened_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    places = (tmp_path / "in.wav", tmp_path / "out.wav")
    words = ("--model", "denoise-tiny-16k", "--seconds", 1.5, "--json", "--record", *places)
    backend = FakeBackend(dies=[3, 5])
    code, output = run(monkeypatch, backend, *words)
    assert code == 0, output
    assert backend.stream is not None
    assert backend.stream.form.buffer_seconds == 4 * BLOCK / RATE
    assert json.loads(output[output.index("{") :])["reopened"] == 2
    assert "devices reopened: 2" in output
    before, after = (soundfile.info(str(place)).frames for place in places)
    assert before == after == (3 + 5 + 82) * BLOCK, "two looks, 0.1 s each, at streams that had died"


def test_a_stream_that_ran_for_a_second_has_all_attempts_again(pipeline: audiotool.Pipeline) -> None:
    backend = FakeBackend(dies=[1] * 9)
    loop = LiveLoop(backend, FORM, pipeline.live(RATE), device_seconds=0.5)
    loop.start()
    measured = loop.latency_seconds
    for n in range(2 * ATTEMPTS):
        stream = backend.stream
        assert stream is not None
        for _ in range(RATE // BLOCK + 1 if n % ATTEMPTS == 0 else 1):
            stream.call()
        stream.active = False
        loop.check()
        assert loop.reopened == n + 1
    # The measured latency was of the first stream's buffers.
    assert backend.stream is not None
    assert measured - loop.latency_seconds == pytest.approx(0.5 - backend.stream.latency_seconds)
    backend.stream.active = False
    with pytest.raises(DeviceError, match="was it unplugged"):
        loop.check()
    loop.stop()


def test_a_device_that_never_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = FakeBackend(dies=[1] * 9)
    monkeypatch.setattr(FakeStream, "start", lambda stream: setattr(stream, "active", False))
    code, output = run(monkeypatch, backend, "--model", "denoise-tiny-16k")
    assert code == 2
    assert "the sound device gives no samples: give a larger --block" in " ".join(output.split())
    assert len(backend._dies) == 9 - 1 - ATTEMPTS


@pytest.mark.parametrize(
    ("asked", "output", "number"),
    [(None, False, 1), (None, True, 3), ("built", False, 0), ("usb headset mono", False, 1), ("3", True, 3)],
)
def test_devices_by_number_or_name(asked: str | None, output: bool, number: int) -> None:
    assert choose(FakeBackend(), asked, output).number == number


@pytest.mark.parametrize(
    ("asked", "output", "message"),
    [
        ("usb", False, "fits several devices"),
        ("7", False, "there is no input device '7'; there are: 0"),
        ("speakers", False, "there is no input device"),
        ("3", False, "device 3 has no input"),
    ],
)
def test_devices_that_are_not_meant(asked: str, output: bool, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        choose(FakeBackend(), asked, output)


def test_no_device_and_no_rate() -> None:
    with pytest.raises(DeviceError, match="there is no input device"):
        choose(FakeBackend(devices=DEVICES[3:]), None)
    with pytest.raises(DeviceError, match=r"at 44100 Hz \(Invalid sample rate\)"):
        agree(FakeBackend(), DEVICES[1], DEVICES[3], (44100,), lambda rate: BLOCK)
    assert agree(FakeBackend(), DEVICES[1], DEVICES[3], (44100, RATE), lambda rate: BLOCK) == FORM


def test_devices_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = run(monkeypatch, FakeBackend(), "--list-devices")
    assert code == 0
    assert "USB Headset Mono 2" in output
    code, output = run(monkeypatch, FakeBackend(devices=()), "--list-devices")
    assert code == 0
    assert output == "audiotool: there are no devices: plug one in, or start the sound server\n"


def test_devices_and_how_it_went_for_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = run(monkeypatch, FakeBackend(), "--list-devices", "--json")
    assert code == 0
    found = json.loads(output)
    assert (found["schema"], found["command"]) == (1, "live")
    assert {"USB Headset Mono 2"} <= {device["name"] for device in found["devices"]}
    assert sum(device["default_input"] for device in found["devices"]) == 1
    words = ("--model", "denoise-tiny-16k", "--seconds", 0.3, "--quiet", "--json")
    code, output = run(monkeypatch, FakeBackend(), *words)
    assert code == 0, output
    ended = json.loads(output)
    assert (ended["sample_rate"], ended["block"]) == (RATE, 256)
    assert ended["seconds"] == round(19 * BLOCK / RATE, 3)


def test_invalid_samples(pipeline: audiotool.Pipeline) -> None:
    backend = FakeBackend()
    loop = LiveLoop(backend, FORM, pipeline.live(RATE))
    fake = backend.stream
    assert fake is not None
    fake.sound = np.array([np.nan, np.inf, 1e30, -0.5], np.float32)
    loop.start()
    for _ in range(20):
        fake.call()
        drained(loop)
    loop.check()
    loop.stop()
    assert np.isfinite(fake.played).all()


def test_portaudio_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(DependencyError, match=r"audiotool-speech\[live\]"):
        command.open_backend()


def test_an_error_of_the_model_is_reported(pipeline: audiotool.Pipeline) -> None:
    backend = FakeBackend()
    stream = pipeline.live(RATE)
    loop = LiveLoop(backend, FORM, stream)
    stream.feed(np.zeros(BLOCK, np.float32))
    stream.flush()
    loop.start()
    fake = backend.stream
    assert fake is not None
    fake.call()
    loop._worker.join(PATIENCE)
    with pytest.raises(AudiotoolError, match="ended"):
        loop.check()
    loop.stop()
    assert dataclasses.asdict(loop.levels())["after"] == 0.0
