"""A server that is told to stop: streams get their tails, files are finished, and others hear why not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from kit.audio import speech_like
from kit.patience import PATIENCE, wait_until

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from kit.server import Running, file_of, post_head, serving, stream_head
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from audiotool.serve import files, middleware, sessions

WHY = "the server stops"


def wav(seconds: float) -> bytes:
    return file_of(speech_like(seconds, 16000))


def rest(stream: ClientConnection) -> tuple[bytes, dict[str, Any] | None]:
    """Return the rest of the audio and the bye, None without one, when the server has closed the stream."""
    audio, bye = b"", None
    try:
        while True:
            message = stream.recv(PATIENCE)
            if isinstance(message, bytes):
                audio += message
            else:
                bye = json.loads(message)
    except ConnectionClosed:
        return audio, bye


@pytest.fixture
def held_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Files are processed once the event is set."""
    go_on = threading.Event()

    async def process(self: files.Files, *arguments: Any) -> Any:
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        return await process_now(self, *arguments)

    process_now = files.Files.process
    monkeypatch.setattr(files.Files, "process", process)
    yield go_on
    go_on.set()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals for other programs")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_gives_streams_their_tails_and_files_their_answers(name: str) -> None:
    number = signal.Signals[name]
    with serving() as (process, port):
        assert process.stderr is not None
        with (
            connect(f"ws://127.0.0.1:{port}/v1/stream", open_timeout=PATIENCE) as stream,
            socket.create_connection(("127.0.0.1", port), PATIENCE) as client,
        ):
            hello = json.loads(stream.recv(PATIENCE))
            stream.send(bytes(2 * 1600))
            heard = b""
            while len(heard) < 2 * (1600 - hello["latency_samples"]):
                heard += stream.recv(PATIENCE)  # type: ignore[operator]
            body = wav(1.0)
            client.sendall(post_head(len(body), "Expect: 100-continue"))
            assert client.recv(1000).startswith(b"HTTP/1.1 100")
            client.sendall(body[:-1])
            process.send_signal(number)
            tail, bye = rest(stream)
            client.sendall(body[-1:])
            answer = client.makefile("rb").read()
        assert bye is not None
        assert (len(heard + tail), bye["samples_out"], bye["reason"]) == (3200, 1600, WHY)
        assert (stream.close_code, stream.close_reason) == (1001, WHY)
        assert answer.startswith(b"HTTP/1.1 200")
        assert process.wait(PATIENCE) == 128 + number
        assert "Traceback" not in process.stderr.read()


def test_it_takes_no_more_while_it_finishes(held_files: threading.Event) -> None:
    with Running() as running:
        assert running.service is not None
        with ThreadPoolExecutor(1) as thread:
            file = thread.submit(running.request, "POST", "/v1/denoise", wav(0.2))
            wait_until(lambda: running.server.server_state.tasks)
            running.server.should_exit = True
            wait_until(lambda: running.service.stopping)  # type: ignore[union-attr]
            status, health = running.request("GET", "/health")
            assert (status, json.loads(health)["status"]) == (503, "stopping")
            with running.stream() as stream:
                assert rest(stream) == (b"", None)
            assert (stream.close_code, stream.close_reason) == (1001, WHY)
            status, answer = running.request("POST", "/v1/denoise", b"x")
            assert (status, json.loads(answer)) == (503, {"error": WHY})
            held_files.set()
            assert file.result(PATIENCE)[0] == 200


def test_what_takes_too_long_is_told_why_it_is_cut(
    held_files: threading.Event,
    held_rounds: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sessions, "DRAIN_SECONDS", 0.3)
    running = Running()
    try:
        with (
            ThreadPoolExecutor(1) as thread,
            running.stream() as stream,
            socket.create_connection(("127.0.0.1", running.port), PATIENCE) as slow,
        ):
            stream.recv(PATIENCE)
            stream.send(np.zeros(1600, "<i2").tobytes())
            slow.sendall(post_head(9))
            file = thread.submit(running.request, "POST", "/v1/denoise", wav(0.2))
            wait_until(lambda: len(running.server.server_state.tasks) == 3)
            running.server.should_exit = True
            assert rest(stream) == (b"", None)
            assert (stream.close_code, stream.close_reason) == (1001, WHY)
            held_rounds.set()
            status, answer = file.result(PATIENCE)
            assert (status, json.loads(answer)) == (503, {"error": WHY})
            status_line, *_, body = slow.makefile("rb").read().splitlines()
            assert b" 503 " in status_line
            assert json.loads(body) == {"error": WHY}
    finally:
        held_rounds.set()
        running.stop()
    assert not [record for record in caplog.records if record.levelname != "INFO"]


def test_a_file_that_is_cut_is_processed_no_further(held: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "DRAIN_SECONDS", 0.3)
    running = Running()
    try:
        with ThreadPoolExecutor(1) as thread:
            file = thread.submit(running.request, "POST", "/v1/denoise", wav(25.0))
            wait_until(lambda: held.fed)
            running.server.should_exit = True
            status, answer = file.result(PATIENCE)
            assert (status, json.loads(answer)) == (503, {"error": WHY})
    finally:
        held.go_on.set()
        running.stop()
    assert held.fed == [160000]


def test_a_stream_that_its_client_has_ended_ends_as_always(held_rounds: threading.Event) -> None:
    running = Running()
    try:
        with running.stream() as stream:
            stream.recv(PATIENCE)
            stream.send(bytes(320))
            stream.send(json.dumps({"type": "end"}))
            service = running.service
            wait_until(lambda: service and all(call._ending for call in service.calls))
            running.server.should_exit = True
            wait_until(lambda: service and service.stopping)
            held_rounds.set()
            audio, bye = rest(stream)
        assert bye is not None
        assert (len(audio), bye["reason"], stream.close_code) == (320, "the client ended it", 1000)
    finally:
        held_rounds.set()
        running.stop()


def test_connections_of_streams_are_closed_after_their_clients_have_answered() -> None:
    """A client that still sends would lose what it has not read yet."""
    closing = bytes((0x88, 2 + len(WHY))) + (1001).to_bytes(2, "big") + WHY.encode()
    with Running() as running, socket.create_connection(("127.0.0.1", running.port), PATIENCE) as client:
        client.sendall(stream_head())
        wait_until(lambda: running.service and running.service.calls)
        running.server.should_exit = True
        received = b""
        while not received.endswith(closing):
            received += client.recv(4096)
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(PATIENCE)
        client.sendall(bytes((0x88, 0x82)) + bytes(4) + (1001).to_bytes(2, "big"))
        assert client.recv(1) == b""


def test_each_of_many_streams_is_said_to_have_been_stopped(caplog: pytest.LogCaptureFixture) -> None:
    with Running(capacity=12) as running:
        with contextlib.ExitStack() as stack, caplog.at_level("INFO", "audiotool.serve"):
            streams = [stack.enter_context(running.stream()) for _ in range(12)]
            for stream in streams:
                stream.recv(PATIENCE)
            running.server.should_exit = True
            assert all(rest(stream)[1] for stream in streams)
            running.stop()
        ends = [record.getMessage() for record in caplog.records if record.getMessage().startswith("stream")]
        assert len(ends) == 12
        assert all(end.endswith(WHY) for end in ends), ends


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for other programs")
def test_a_second_interrupt_cuts_without_a_traceback() -> None:
    with serving() as (process, port):
        assert process.stderr is not None
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.sendall(post_head(100_000, "Expect: 100-continue"))
            assert client.recv(1000).startswith(b"HTTP/1.1 100")
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 130
        assert "Traceback" not in process.stderr.read()


def test_a_second_interrupt_does_not_wait_for_the_rest_of_a_file(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module, name in ((sessions, "CUT_SECONDS"), (middleware, "LINGER_SECONDS")):
        monkeypatch.setattr(module, name, 10 * PATIENCE)
    running = Running()
    head = b"POST /v1/denoise HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\nRIFF"
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as client:
        client.sendall(head)
        wait_until(lambda: running.server.server_state.tasks)
        running.server.should_exit = True
        wait_until(lambda: running.service and running.service.stopping)
        running.server.force_exit = True
        running.stop()
        answer = client.recv(1000)
    assert answer.startswith(b"HTTP/1.1 503")
    assert not [record for record in caplog.records if record.levelname != "INFO"]
