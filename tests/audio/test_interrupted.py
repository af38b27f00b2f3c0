"""Signals that come while a library reads or writes through a Python object: none is lost."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace

import pytest
from kit.audio import speech_like, write_speech

from audiotool import extras, signals
from audiotool.audio import reader
from audiotool.audio.file_writer import FileWriter
from audiotool.audio.reader import AudioReader
from audiotool.audio.writer import OutputFormat
from audiotool.report.sound import Vorbis

INTERRUPTIONS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: SystemExit}


class Signalling(io.BytesIO):
    """A file in memory whose next use sends this process a signal."""

    number: signal.Signals | None = None

    def _send(self) -> None:
        number, self.number = self.number, None
        if number is not None:
            signal.raise_signal(number)

    def read(self, size: int | None = -1) -> bytes:
        self._send()
        return super().read(size)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._send()
        return super().readinto(buffer)

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._send()
        return super().write(data)


@pytest.fixture(autouse=True)
def terminated() -> Iterator[None]:
    """SIGTERM ends this process as it ends the command."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number", INTERRUPTIONS)
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.m4a"])
def test_a_reader(name: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "a.m4a":
        if not extras.is_there("av"):
            pytest.skip(extras.install("media"))
        write_m4a(tmp_path / name)
    else:
        write_speech(tmp_path / name, 20.0)
    file = Signalling((tmp_path / name).read_bytes())
    monkeypatch.setattr(reader, "opened", lambda path: file)
    handler = signal.getsignal(number)
    with AudioReader(tmp_path / name) as opened:
        file.number = number
        with pytest.raises(INTERRUPTIONS[number]):
            list(opened.blocks(1000))
        assert file.number is None
        assert signal.getsignal(number) is handler


def write_m4a(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(speech_like(20.0, 48000), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux([packet for part in (frame, None) for packet in stream.encode(part)])


@pytest.mark.parametrize("number", INTERRUPTIONS)
@pytest.mark.parametrize(
    "place", ["audiotool.atomic._lock", "audiotool.audio.file_writer.soundfile.SoundFile"]
)
def test_an_output_that_is_being_opened(
    place: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, lambda *_, **__: signal.raise_signal(number))
    with pytest.raises(INTERRUPTIONS[number]):
        FileWriter(tmp_path / "a.wav", OutputFormat(16000, 1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", INTERRUPTIONS)
def test_the_sound_of_a_page(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    content = Signalling()
    monkeypatch.setattr("audiotool.report.sound.io.BytesIO", lambda: content)
    encoder = Vorbis(16000, 1)
    content.number = number
    with pytest.raises(INTERRUPTIONS[number]):
        encoder.feed(speech_like(20.0, 16000))
    monkeypatch.undo()
    encoder.finish()


def test_handlers_are_as_before_and_called_once() -> None:
    came = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        with signals.deferred():
            signal.raise_signal(signal.SIGINT)
            assert not came
        assert came == [signal.SIGINT]
        signal.raise_signal(signal.SIGINT)
        assert came == [signal.SIGINT] * 2
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(ValueError, match="of the block"), signals.deferred():
        raise ValueError("of the block")
    assert signal.getsignal(signal.SIGINT) is before


def test_requests_in_short_succession_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("audiotool.signals.time", clock)
    signals.unwind_on_request()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    for clock.now, number in ((0.5, signal.SIGINT), (1.0, signal.SIGTERM), (1.9, signal.SIGINT)):
        signal.raise_signal(number)
    clock.now = 3.0
    with pytest.raises(signals.EndRequest) as ended:
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 143
