"""`audiotool live` with devices that are not there, and their clock."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like
from kit.command import run_command
from kit.devices import BLOCK, RATE, Clock, FakeBackend, FakeStream, Loopback, drained
from kit.disk import largest_file

import audiotool
from audiotool.cli import live as command
from audiotool.errors import DependencyError
from audiotool.live import loop as live_loop
from audiotool.live.backend import Callback, Form
from audiotool.live.loop import ATTEMPTS, LiveLoop
from audiotool.streaming.live_stream import LiveStream


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
    done = run_command("live", *words)
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
    words = ("--model", "denoise-tiny-16k", "--json", "--record", *places)
    code, output = run(monkeypatch, FakeBackend(dies=[30, 0]), *words)
    assert code == 2
    ended, _ = json.JSONDecoder().raw_decode(output[output.index("{") :])
    assert ended["recordings"] == list(map(str, places))
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


def test_a_device_that_never_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = FakeBackend(dies=[1] * 9)
    monkeypatch.setattr(FakeStream, "start", lambda stream: setattr(stream, "active", False))
    code, output = run(monkeypatch, backend, "--model", "denoise-tiny-16k")
    assert code == 2
    assert "the sound device gives no samples: give a larger --block" in " ".join(output.split())
    assert len(backend._dies) == 9 - 1 - ATTEMPTS


@pytest.mark.parametrize("words", [(), ("--model", "denoise-tiny-16k")])
def test_gaps_are_told_with_what_helps(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    class Late(FakeStream):
        def call(self) -> None:
            super().call()
            self.callback(np.zeros((0, 1), np.float32), np.zeros((0, 2), np.float32), True, False)

    def open_late(backend: FakeBackend, form: Form, callback: Callback) -> FakeStream:
        backend.stream = Late(form, callback)
        return backend.stream

    monkeypatch.setattr(FakeBackend, "open", open_late)
    monkeypatch.setattr(f"{__name__}.drained", lambda loop: None)
    code, output = run(monkeypatch, FakeBackend(), "--seconds", command.WARNING_SECONDS + 1, *words)
    assert code == 0, output
    (told,) = (line for line in output.splitlines() if "try a larger --block" in line)
    assert told.endswith("block" if words else "block, or --model denoise-tiny-16k")


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
    assert (ended["lost_seconds"], ended["interrupted"]) == (0, False)
    assert "recordings" not in ended


@pytest.mark.parametrize(("ending", "exit_code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_a_signal_ends_with_a_document(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ending: BaseException, exit_code: int
) -> None:
    def wait(clock: Clock, seconds: float) -> str:
        if clock.monotonic() > 0.35:
            raise ending
        return waited(clock, seconds)

    waited = Clock._wait
    monkeypatch.setattr(Clock, "_wait", wait)
    monkeypatch.setattr(LiveLoop, "lost_seconds", 1.25)
    places = [tmp_path / "in.wav", tmp_path / "out.wav"]
    words = ("--model", "denoise-tiny-16k", "--quiet", "--json", "--record", *places)
    code, output = run(monkeypatch, FakeBackend(), *words)
    assert code == exit_code
    ended, _ = json.JSONDecoder().raw_decode(output)
    assert (ended["interrupted"], ended["seconds"], ended["lost_seconds"]) == (True, 0.4, 1.25)
    assert (ended["recordings"], ended["recordings_lost"]) == (list(map(str, places)), 0)
    for place in places:
        assert soundfile.info(str(place)).frames == 0.4 * RATE


@pytest.mark.parametrize("failing", ["feed", "flush"])
def test_a_model_that_fails_ends_with_a_document(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failing: str
) -> None:
    def fails(stream: LiveStream, *block: object) -> None:
        raise MemoryError("there is none")

    monkeypatch.setattr(LiveStream, failing, fails)
    places = [tmp_path / "in.wav", tmp_path / "out.wav"]
    words = ("--model", "denoise-tiny-16k", "--seconds", 0.5, "--quiet", "--json", "--record", *places)
    code, output = run(monkeypatch, FakeBackend(), *words)
    assert code == 1
    ended, end = json.JSONDecoder().raw_decode(output)
    assert (ended["interrupted"], ended["recordings"][0]) == (False, str(places[0]))
    assert "audiotool: internal error: MemoryError: there is none" in output[end:]


def test_a_full_disk_ends_with_a_document_and_the_recordings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    places = [tmp_path / "in.wav", tmp_path / "out.wav"]
    words = ("--model", "denoise-tiny-16k", "--seconds", 6, "--quiet", "--json", "--record", *places)
    with largest_file(20001):
        code, output = run(monkeypatch, FakeBackend(), *words)
    assert code == 1
    ended, end = json.JSONDecoder().raw_decode(output)
    assert (ended["recordings"], ended["interrupted"]) == (list(map(str, places)), False)
    (line,) = output[end:].split("\n")[1:-1]
    assert line.startswith(f"audiotool: error: cannot write {tmp_path}")
    assert line.endswith(f"what came before is in {places[0]} and {places[1]}")
    before, after = (soundfile.read(str(place))[0] for place in places)
    assert len(before) >= 35 * BLOCK
    np.testing.assert_allclose(before, speech_like(10.0, RATE)[0][: len(before)], atol=2**-15)
    assert len(after) >= 35 * BLOCK


def test_a_file_that_appears_while_it_is_recorded_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    places = [tmp_path / "in.wav", tmp_path / "out.wav"]
    words = ("--model", "denoise-tiny-16k", "--seconds", 0.5, "--json", "--record", *places)
    stop = LiveLoop.stop

    def stopped(loop: LiveLoop) -> None:
        places[0].write_text("another's")
        stop(loop)

    monkeypatch.setattr(LiveLoop, "stop", stopped)
    code, output = run(monkeypatch, FakeBackend(), *words)
    assert code == 0, output
    assert places[0].read_text() == "another's"
    other = tmp_path / "in-2.wav"
    assert f"the recording is {other}" in output
    assert json.loads(output[output.index("{") :])["recordings"] == [str(other), str(places[1])]
    assert soundfile.info(str(other)).frames == soundfile.info(str(places[1])).frames


@pytest.mark.parametrize("places", [("in.wav", "a/../in.wav"), ("in.wav", "-")])
def test_a_recording_needs_two_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, places: tuple[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = run(monkeypatch, FakeBackend(), "--model", "denoise-tiny-16k", "--record", *places)
    assert code == 2
    assert "--record needs two files" in output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.txt", "a.txt: the ending '.txt' names no audio format; use one of .wav, "),
        ("a.wma", "a.wma: .wma is read, and not written"),
        ("file/a.wav", "cannot write file/a.wav: file is not a folder"),
    ],
)
def test_a_recording_that_cannot_be_written_is_a_mistake_of_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, message: str
) -> None:
    """`live` has no --format."""
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    code, output = run(monkeypatch, FakeBackend(), "--model", "denoise-tiny-16k", "--record", "b.wav", name)
    assert code == 2
    assert f"audiotool: error: {message}" in output
    assert "--format" not in output
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_devices_that_give_nothing_leave_no_recordings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They do not open, or they open and never call back."""
    words = ("--model", "denoise-tiny-16k", "--seconds", 0.5, "--json", "--record")
    code, output = run(monkeypatch, FakeBackend(dies=[0]), *words, tmp_path / "in.wav", tmp_path / "out.wav")
    assert code == 2
    assert "cannot be opened" in output
    monkeypatch.setattr(FakeStream, "call", lambda stream: None)
    code, output = run(monkeypatch, FakeBackend(), *words, tmp_path / "in.wav", tmp_path / "out.wav")
    assert code == 2
    assert "the sound device gives no samples" in " ".join(output.split())
    assert "{" not in output
    assert not list(tmp_path.iterdir())


def test_portaudio_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(DependencyError, match=r"audiotool-speech\[live\]"):
        command.open_backend()
