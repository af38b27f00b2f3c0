"""Clients that send nonsense, too much or nothing, read nothing, or vanish."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
import threading
from typing import Any

import numpy as np
import pytest
from kit.patience import PATIENCE, wait_until

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

import uvicorn
from kit.server import (
    Running,
    drops_connections,
    pcm,
    post_head,
    refusal,
    serving,
    stream_head,
    until_bye,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from audiotool.serve import connections
from audiotool.serve.app import Server
from audiotool.serve.service import Call, Service
from audiotool.serve.sessions import Limits


@pytest.mark.parametrize(
    ("query", "code", "why"),
    [
        ("?rate=0", 1008, "rate is a whole number from 4000 to 192000"),
        ("?rate=16000.5", 1008, "rate is a whole number"),
        ("?rate=%D9%A3%D9%A3%D9%A3%D9%A3%D9%A3", 1008, "rate is a whole number"),
        ("?rate=44101", 1008, "no ratio of small numbers to the model's 16000 Hz: take 44100 Hz"),
        ("?rate=191999", 1008, "take 192000 Hz"),
        ("?channels=99", 1008, "channels is a whole number from 1 to 8"),
        ("?format=mp3", 1008, "no sample format 'mp3'"),
        ("?format=../../etc/passwd", 1008, "no sample format"),
        ("?task=vocode", 1008, "this server's task is denoise"),
        ("?mix=2", 1008, "mix is from 0"),
        ("?mix=nan", 1008, "mix is a number"),
        ("?path=/etc/passwd", 1008, "there is no parameter 'path'"),
    ],
)
def test_invalid_queries(server: Running, query: str, code: int, why: str) -> None:
    with server.stream(query) as stream:
        found, reason = refusal(stream)
    assert found == code
    assert why in reason


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", 1007),
        ("[]", 1007),
        ("null", 1007),
        ('{"type": "delete"}', 1007),
        ('{"type": "settings", "mix": "x"}', 1007),
        ('{"type": "settings", "model": "/etc/passwd"}', 1007),
        ('{"type": "settings", "mix": [1]}', 1007),
        ('{"type": "settings", "rate": 8000}', 1007),
        ("[" * 100_000, 1007),
        (np.array([1, np.nan, 2], "<f4").tobytes(), 1007),
        (np.array([np.inf] * 1000, "<f4").tobytes(), 1007),
    ],
)
def test_messages_that_make_no_sense(server: Running, message: str | bytes, code: int) -> None:
    with server.stream("?format=f32le") as stream:
        stream.recv(PATIENCE)
        with contextlib.suppress(ConnectionClosed):
            stream.send(message)
            stream.send(b"\0" * 4096)
        assert refusal(stream)[0] == code
    assert server.request("GET", "/health")[0] == 200


def test_a_message_that_is_too_long_is_refused_by_its_header(server: Running) -> None:
    with server.stream("?format=f32le") as stream:
        stream.recv(PATIENCE)
        # The header alone: TCP may drop the server's code when it closes on bytes that it has not read.
        stream.socket.sendall(b"\x82\xff" + ((1 << 20) + 1).to_bytes(8, "big") + bytes(4))
        assert refusal(stream)[0] == 1009
    assert server.request("GET", "/health")[0] == 200


def test_a_message_that_is_too_long_before_the_hello_is_counted_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def late(service: Service, *wanted: Any) -> Call:
        while not closed.is_set():
            await asyncio.sleep(0.01)
        return await begun(service, *wanted)

    closed, begun = threading.Event(), Service.open
    monkeypatch.setattr(Service, "open", late)
    caplog.set_level("INFO", logger="audiotool.serve.sessions")
    with Running() as running:
        with running.stream() as stream:
            stream.socket.sendall(b"\x82\xff" + ((1 << 20) + 1).to_bytes(8, "big") + bytes(4))
            assert refusal(stream)[0] == 1009
            closed.set()
            wait_until(lambda: b"audiotool_failed_total 1\n" in running.request("GET", "/metrics")[1])
        assert caplog.messages[-1] == "stream, 16000 Hz, 1 channel, 0.0 s: a frame is too long (1009)"


@pytest.mark.parametrize("head", [bytes((0x82, 0x04)), bytes((0x83, 0x84))])
def test_a_malformed_frame_is_counted_and_logged(caplog: pytest.LogCaptureFixture, head: bytes) -> None:
    """One that is not masked, and one of a kind that does not exist."""
    caplog.set_level("INFO", logger="audiotool.serve.sessions")
    with Running() as running:
        with running.stream() as stream:
            stream.recv(PATIENCE)
            stream.socket.sendall(head + bytes(8))
            assert refusal(stream)[0] == 1002
        wait_until(lambda: caplog.messages)
        assert caplog.messages == ["stream, 16000 Hz, 1 channel, 0.0 s: a frame is malformed (1002)"]
        assert b"audiotool_failed_total 1\n" in running.request("GET", "/metrics")[1]


@pytest.mark.parametrize("code", [1002, 1007, 1008, 1009])
def test_a_client_that_leaves_with_a_code_of_the_server_has_left(
    caplog: pytest.LogCaptureFixture, code: int
) -> None:
    caplog.set_level("INFO", logger="audiotool.serve.sessions")
    with Running() as running:
        with running.stream() as stream:
            stream.recv(PATIENCE)
            stream.close(code)
        wait_until(lambda: caplog.messages)
        assert caplog.messages == ["stream, 16000 Hz, 1 channel, 0.0 s: the client left"]
        assert b"audiotool_failed_total 0\n" in running.request("GET", "/metrics")[1]


def test_clients_that_vanish_leave_nothing(server: Running) -> None:
    for n in range(20):
        with server.stream() as stream:
            # A server that still frees the places of those before refuses this one.
            with contextlib.suppress(ConnectionClosed):
                if n % 2:
                    stream.send(pcm(0.1).tobytes())
            with contextlib.suppress(OSError):
                stream.socket.shutdown(socket.SHUT_RDWR)
    server.wait_until_idle()


@drops_connections
@pytest.mark.parametrize("watched", [True, False])
def test_a_client_that_reads_nothing_is_left_after_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, watched: bool
) -> None:
    """By the server or by the system, which measures from earlier on."""

    async def asleep(*_: Any) -> None:
        await asyncio.sleep(PATIENCE)

    if not watched:
        monkeypatch.setattr(Server, "_watch", asleep)
    caplog.set_level("INFO", logger="audiotool.serve.sessions")
    queued = list[int]()

    def fed(service: Service, call: Call, data: bytes) -> None:
        feed(service, call, data)
        queued.append(call._waiting + call._unread)

    feed = Service.feed
    monkeypatch.setattr(Service, "feed", fed)
    size = 1 << 19
    frame = bytes((0x82, 0xFF)) + size.to_bytes(8, "big") + bytes(4 + size)
    with Running(limits=Limits(stall_seconds=0.5)) as running:
        with socket.create_connection(("127.0.0.1", running.port)) as client:
            client.settimeout(PATIENCE)
            client.sendall(stream_head("?rate=192000&format=f32le&mix=0"))
            wait_until(lambda: running.service.calls)  # type: ignore[union-attr]
            # The server, which holds a few seconds of it, closes the connection.
            with pytest.raises(ConnectionError):
                client.sendall(100 * frame)
            running.wait_until_idle()
            running.wait_until_disconnected()
        assert 0 < max(queued) < 8_000_000
        (line,) = caplog.messages
        assert line.endswith(": what was sent was not read (1008)")
        assert b"audiotool_failed_total 1\n" in running.request("GET", "/metrics")[1]


def test_a_client_that_is_held_back_is_not_taken_for_dead(
    held_rounds: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server reads nothing from it, so no answer to a ping either."""
    # Whoever wants pings gets many.
    brief = functools.partial(uvicorn.Config, ws_ping_interval=0.1, ws_ping_timeout=0.1)
    monkeypatch.setattr(uvicorn, "Config", brief)
    x = pcm(2.5)
    with Running() as running:
        with running.stream() as stream:
            hello = stream.recv(PATIENCE)
            for n in range(0, len(x), 4000):
                stream.send(x[n : n + 4000].tobytes())
            threading.Timer(0.3, held_rounds.set).start()
            stream.send(json.dumps({"type": "end"}))
            answer, _ = until_bye(stream)
        assert json.loads(hello)["type"] == "hello"
        assert len(answer) == 2 * len(x)


@pytest.mark.parametrize("part", ["", "G", "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
def test_a_connection_whose_request_does_not_come_is_closed(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Also where it has made a request before."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.3)
    health = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with Running() as running:
        for before in ("", health):
            with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as client:
                client.sendall((before + part).encode())
                assert client.makefile("rb").read().startswith(b"HTTP/1.1 200" if before else b"")
            running.wait_until_disconnected()


def test_requests_and_streams_last_longer_than_the_time_for_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.1)
    with Running() as running:
        with running.stream() as stream, socket.create_connection(("127.0.0.1", running.port)) as client:
            client.sendall(post_head(2) + b"1")
            hello = stream.recv(PATIENCE)
            with pytest.raises(TimeoutError):
                stream.recv(0.4)
            client.sendall(b"2")
            assert b" 400 " in client.recv(1000).splitlines()[0]
            stream.send(json.dumps({"type": "end"}))
            assert json.loads(stream.recv(PATIENCE))["type"] == "bye"
        assert json.loads(hello)["type"] == "hello"


def test_a_silent_client_gets_its_tail_after_a_while() -> None:
    why = "nothing came for 0.3 s"
    with Running(limits=Limits(idle_seconds=0.3)) as running, running.stream() as stream:
        stream.recv(PATIENCE)
        stream.send(pcm(0.2).tobytes())
        audio, bye = until_bye(stream)
        assert (len(audio), bye["samples_out"], bye["reason"]) == (2 * 3200, 3200, why)
        assert refusal(stream) == (1001, why)
        wait_until(lambda: b"audiotool_failed_total 1\n" in running.request("GET", "/metrics")[1])


@pytest.mark.parametrize("size", [1000, 5120, 64000])
def test_a_sample_that_is_no_number_is_told_by_its_place_in_the_stream(server: Running, size: int) -> None:
    """And what was ready before it comes."""
    x = np.zeros((20000, 2), "<f4")
    x[12000, 1] = np.nan
    with server.stream("?format=f32le&channels=2") as stream:
        latency = json.loads(stream.recv(PATIENCE))["latency_samples"]
        audio = b""
        with contextlib.suppress(ConnectionClosed):
            for n in range(0, 8 * len(x), size):
                stream.send(x.tobytes()[n : n + size])
        with contextlib.suppress(ConnectionClosed):
            while True:
                audio += stream.recv(PATIENCE)  # type: ignore[operator]
        found = refusal(stream)
    assert found == (1007, "the stream holds nan at sample 12000 of channel 2, 0.750 s from its beginning")
    assert 12000 - latency <= len(audio) / 8 <= 12000


def test_faults_of_clients_are_no_errors_of_the_server() -> None:
    with serving() as (process, port):
        assert process.stderr is not None
        with connect(f"ws://127.0.0.1:{port}/v1/stream", open_timeout=PATIENCE) as stream:
            stream.recv(PATIENCE)
            stream.socket.sendall(bytes((0x81, 0x82)) + bytes(4) + b"\xff\xfe")
            assert refusal(stream)[0] == 1007
        with pytest.raises(InvalidStatus, match="404"):
            connect(f"ws://127.0.0.1:{port}/nowhere", open_timeout=PATIENCE)
        process.terminate()
        process.wait(PATIENCE)
        lines = process.stderr.read().splitlines()
    assert lines == ["audiotool: stream, 16000 Hz, 1 channel, 0.0 s: a text is not UTF-8 (1007)"]
