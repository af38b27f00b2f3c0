"""What an operator learns of streams and files: counters, lines of the log, and when to come again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kit.audio import speech_like
from kit.patience import PATIENCE, wait_until

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from kit.server import Running, file_of
from websockets.exceptions import ConnectionClosed

from audiotool.serve import files
from audiotool.serve.sessions import Limits


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "audiotool.serve")
    return caplog


@pytest.fixture
def running() -> Iterator[Running]:
    running = Running(capacity=1, limits=Limits(upload_bytes=100_000))
    yield running
    running.stop()


def counted(running: Running) -> dict[str, float]:
    text = running.request("GET", "/metrics")[1].decode()
    rows = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {name.removeprefix("audiotool_"): float(value) for name, value in rows}


def told(lines: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in lines.records if record.name.startswith("audiotool")]


def wav(seconds: float) -> bytes:
    return file_of(speech_like(seconds, 16000, 2))


def talk(running: Running, message: str | bytes, query: str = "?rate=8000&format=f32le") -> None:
    with running.stream(query) as stream, contextlib.suppress(ConnectionClosed):
        stream.recv(PATIENCE)
        stream.send(bytes(4 * 8000))
        stream.send(message)
        while True:
            stream.recv(PATIENCE)


@pytest.mark.parametrize(
    ("message", "end"),
    [
        ("{", 'a text is a JSON object with a type: {"type": "end"} (1007)'),
        (b"\0\0\xc0\x7f", "(1007)"),
        (bytes((1 << 20) + 1), "a frame is too long (1009)"),
    ],
)
def test_streams_that_are_ended_are_counted_and_told(
    running: Running, lines: pytest.LogCaptureFixture, message: str | bytes, end: str
) -> None:
    talk(running, message)
    wait_until(lambda: told(lines))
    (line,) = told(lines)
    assert line.startswith("stream, 8000 Hz, 1 channel, ")
    assert line.endswith(end)
    found = counted(running)
    assert (found["streams_total"], found["failed_total"], found["refused_total"]) == (1, 1, 0)


def test_streams_that_end_are_told(running: Running, lines: pytest.LogCaptureFixture) -> None:
    talk(running, json.dumps({"type": "end"}))
    running.wait_until_idle()
    with running.stream() as stream:
        stream.recv(PATIENCE)
    wait_until(lambda: len(told(lines)) == 2)
    running.request("GET", "/health")
    assert told(lines) == [
        "stream, 8000 Hz, 1 channel, 1.0 s: the client ended it",
        "stream, 16000 Hz, 1 channel, 0.0 s: the client left",
    ]
    assert counted(running)["failed_total"] == 0


def test_streams_that_are_refused(running: Running, lines: pytest.LogCaptureFixture) -> None:
    with running.stream() as stream:
        stream.recv(PATIENCE)
        talk(running, "", "")
        talk(running, "", "?a%0Ab=1")
        assert told(lines)[0] == "stream: all 1 places are taken: try again later (1013)"
        assert "\n" not in told(lines)[1]
        found = counted(running)
        assert (found["refused_total"], found["failed_total"]) == (1, 0)


def test_files(running: Running, lines: pytest.LogCaptureFixture) -> None:
    for body, status in ((wav(0.2), 200), (b"no audio", 400), (bytes(200_000), 413)):
        assert running.request("POST", "/v1/denoise", body)[0] == status
    first, second, third = told(lines)
    assert first == "file, 16000 Hz, 2 channels, 0.2 s: processed"
    assert second.startswith("file: ")
    assert second.endswith("(400)")
    assert third == "file: a recording has at most 100000 bytes here (413)"
    found = counted(running)
    assert (found["files_total"], found["failed_total"], found["refused_total"]) == (1, 2, 0)


def test_files_without_a_place_hear_when_to_come_again(
    running: Running, lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    async def process(*_: Any) -> files.Processed:
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        return files.Processed(b"x", 16000, 1, 1)

    monkeypatch.setattr(files.Files, "process", process)
    with ThreadPoolExecutor(files.PLACES) as threads:
        held = [threads.submit(running.request, "POST", "/v1/denoise", b"x") for _ in range(files.PLACES)]
        wait_until(lambda: len(running.server.server_state.tasks) == files.PLACES)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{running.port}/v1/denoise", b"x", PATIENCE)
        go_on.set()
        assert {one.result(PATIENCE)[0] for one in held} == {200}
    assert refused.value.code == 503
    assert int(refused.value.headers["Retry-After"]) > 0
    refused.value.close()
    assert told(lines)[0] == "file: all places for files are taken: try again later (503)"
    found = counted(running)
    assert (found["refused_total"], found["failed_total"], found["files_total"]) == (1, 0, files.PLACES)


def test_a_fault_of_the_program_is_counted(
    running: Running, lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def process(*_: Any) -> files.Processed:
        raise ZeroDivisionError

    monkeypatch.setattr(files.Files, "process", process)
    assert running.request("POST", "/v1/denoise", b"x")[0] == 500
    assert told(lines)[0] == "file: internal error: ZeroDivisionError"
    assert counted(running)["failed_total"] == 1
