"""The server on loopback: streams equal a stream of its own, limits hold, nothing of a client is trusted."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import socket
import threading
from typing import Any

import numpy as np
import pytest
from kit.audio import speech_like
from kit.patience import PATIENCE, wait_until

import audiotool

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

import uvicorn
from kit.server import Running, drops_connections
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from audiotool.serve import connections
from audiotool.serve.app import Limits
from audiotool.serve.service import Call, Service


def pcm(seconds: float, rate: int = 16000, channels: int = 1) -> np.ndarray[Any, np.dtype[np.int16]]:
    return (speech_like(seconds, rate, channels).T * 32767).astype("<i2")


def talk(stream: ClientConnection, data: bytes, size: int) -> tuple[dict[str, Any], bytes, dict[str, Any]]:
    """Send in pieces, end, and take hello, answer and bye."""
    hello = json.loads(stream.recv(PATIENCE))
    for n in range(0, len(data), size):
        stream.send(data[n : n + size])
    stream.send(json.dumps({"type": "end"}))
    answer = b""
    while True:
        message = stream.recv(PATIENCE)
        if isinstance(message, str):
            return hello, answer, json.loads(message)
        answer += message


@pytest.mark.parametrize(("rate", "channels", "size"), [(16000, 1, 512), (8000, 2, 999), (48000, 1, 20_000)])
def test_a_stream_equals_one_of_its_own(server: Running, rate: int, channels: int, size: int) -> None:
    x = pcm(0.6, rate, channels)
    with server.stream(f"?task=denoise&rate={rate}&channels={channels}&format=s16le") as stream:
        hello, answer, bye = talk(stream, x.tobytes(), size)
    live = audiotool.load("denoise-tiny-16k").live(rate, channels)
    expected = np.concatenate([live.feed(x.T), live.flush()], axis=1).T
    found = np.frombuffer(answer, "<i2").reshape(-1, channels)
    assert hello["latency_samples"] == live.latency
    assert (hello["rate"], hello["output_rate"], hello["output_channels"]) == (rate, rate, channels)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (bye["samples_in"], bye["samples_out"], bye["bytes_left_out"]) == (len(x), len(x), 0)


def test_no_output_is_later_than_the_hello_says(server: Running) -> None:
    """After each message all but the declared latency comes without another; and once no more than that."""
    x = pcm(0.6, 22050)[:, 0]
    with server.stream("?rate=22050") as stream:
        latency = json.loads(stream.recv(PATIENCE))["latency_samples"]
        got = sent = most = 0
        for size in np.random.default_rng(3).integers(1, 60, 200):
            stream.send(x[sent : sent + size].tobytes())
            sent += int(size)
            while got < sent - latency:
                got += len(stream.recv(PATIENCE)) // 2
            most = max(most, sent - got)
    assert latency - 60 <= most <= latency


def test_an_impulse_comes_out_where_it_went_in(server: Running) -> None:
    x = np.zeros(4000, "<i2")
    x[1234] = 20000
    with server.stream("?mix=0.5") as stream:
        answer = talk(stream, x.tobytes(), 320)[1]
    assert np.abs(np.frombuffer(answer, "<i2").astype(int)).argmax() == 1234


def test_many_at_once(server: Running) -> None:
    """Each gets the answer to its own recording."""
    voices = [(speech_like(0.5, 16000, seed=n)[0] / (1 + n) * 32767).astype("<i2") for n in range(4)]
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(server.stream()) for _ in voices]
        found: dict[int, bytes] = {}

        def one(n: int) -> None:
            found[n] = talk(streams[n], voices[n].tobytes(), 640 + n)[1]

        threads = [threading.Thread(target=one, args=(n,)) for n in range(len(voices))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    pipeline = audiotool.load("denoise-tiny-16k")
    for n, voice in enumerate(voices):
        live = pipeline.live(16000)
        expected = np.concatenate([live.feed(voice), live.flush()])
        assert np.abs(np.frombuffer(found[n], "<i2").astype(int) - expected).max() <= 1


def test_an_incomplete_sample_is_reported(server: Running) -> None:
    with server.stream() as stream:
        _, answer, bye = talk(stream, b"\0\0" * 500 + b"\1", 333)
    assert (len(answer), bye["bytes_left_out"]) == (1000, 1)


def test_settings_change_while_it_goes_on(server: Running) -> None:
    x = pcm(0.5)
    with server.stream() as stream:
        stream.recv(PATIENCE)
        stream.send(json.dumps({"type": "settings", "mix": 0}))
        stream.send(x.tobytes())
        stream.send(json.dumps({"type": "end"}))
        answer = b""
        while isinstance(message := stream.recv(PATIENCE), bytes):
            answer += message
    np.testing.assert_array_equal(np.frombuffer(answer, "<i2"), x[:, 0])


def test_settings_count_from_where_they_were_sent(server: Running) -> None:
    """However much audio still waits when they come."""
    x = pcm(1.5)[:, 0]
    pieces = ((0.5, x[:9000]), (0.25, x[9000:9001]), (1.0, x[:0]), (0.0, x[9001:]))
    with server.stream() as stream:
        stream.recv(PATIENCE)
        for mix, piece in pieces:
            stream.send(json.dumps({"type": "settings", "mix": mix}))
            stream.send(piece.tobytes())
        stream.send(json.dumps({"type": "end"}))
        answer = b""
        while isinstance(message := stream.recv(PATIENCE), bytes):
            answer += message
    live, expected = audiotool.load("denoise-tiny-16k").live(16000), list[Any]()
    for mix, piece in pieces:
        live.settings = dataclasses.replace(live.settings, mix=mix)
        expected.append(live.feed(piece))
    expected.append(live.flush())
    assert np.abs(np.frombuffer(answer, "<i2").astype(int) - np.concatenate(expected)).max() <= 1


def refusal(stream: ClientConnection) -> tuple[int, str]:
    with contextlib.suppress(ConnectionClosed):
        while True:
            stream.recv(PATIENCE)
    assert stream.close_code is not None
    return stream.close_code, stream.close_reason or ""


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
    running = Running()
    try:
        with running.stream() as stream:
            stream.socket.sendall(b"\x82\xff" + ((1 << 20) + 1).to_bytes(8, "big") + bytes(4))
            assert refusal(stream)[0] == 1009
            closed.set()
            wait_until(lambda: b"audiotool_failed_total 1\n" in running.request("GET", "/metrics")[1])
        assert caplog.messages[-1] == "stream, 16000 Hz, 1 channel, 0.0 s: a frame is too long (1009)"
    finally:
        running.stop()


def test_a_full_server_refuses_with_try_later() -> None:
    running = Running(capacity=2)
    try:
        with running.stream() as one, running.stream() as two:
            one.recv(PATIENCE), two.recv(PATIENCE)
            with running.stream() as three:
                assert refusal(three) == (1013, "all 2 places are taken: try again later")
            with running.stream("?channels=3") as wide:
                assert refusal(wide) == (1008, "3 channels take 3 places, and there are 2")
            one.close()
            wait_until(lambda: len(running.service.calls) == 1)  # type: ignore[union-attr]
            with running.stream() as four:
                assert json.loads(four.recv(PATIENCE))["type"] == "hello"
        text = running.request("GET", "/metrics")[1].decode()
        assert "audiotool_refused_total 1\n" in text
        assert "audiotool_streams_total 3\n" in text
    finally:
        running.stop()


def test_all_checkpoints_are_loaded_before_the_first_client() -> None:
    loaded = list[audiotool.Pipeline]()

    def full_band() -> audiotool.Pipeline:
        loaded.append(audiotool.load("denoise-48k"))
        return loaded[0]

    tiny = audiotool.load("denoise-tiny-16k")
    service = Service(audiotool.Pipeline(tiny.engine, tiny.task, full_band=full_band), 2)
    assert len(loaded) == 1
    batches = dict(service.streams._batches)
    for rate in (16000, 96000):
        service.streams.join(rate)
    assert service.streams._batches == batches
    assert len(loaded) == 1


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
def test_a_client_that_reads_nothing_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    queued = list[int]()

    def fed(service: Service, call: Call, data: bytes) -> None:
        feed(service, call, data)
        queued.append(call._waiting + call._unread)

    feed = Service.feed
    monkeypatch.setattr(Service, "feed", fed)
    running = Running(limits=Limits(stall_seconds=0.5))
    hello = (
        "GET /v1/stream?rate=192000&format=f32le&mix=0 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    size = 1 << 19
    frame = bytes((0x82, 0xFF)) + size.to_bytes(8, "big") + bytes(4 + size)
    try:
        with socket.create_connection(("127.0.0.1", running.port)) as client:
            client.settimeout(PATIENCE)
            client.sendall(hello.encode())
            wait_until(lambda: running.service.calls)  # type: ignore[union-attr]
            # The server, which holds a few seconds of it, closes the connection.
            with pytest.raises(ConnectionError):
                client.sendall(100 * frame)
            running.wait_until_idle()
            running.wait_until_disconnected()
        assert 0 < max(queued) < 8_000_000
    finally:
        running.stop()


def test_a_client_that_is_held_back_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server reads nothing from it, so no answer to a ping either."""
    wait = threading.Event()

    def held_back(service: Service, work: Any) -> list[bytes]:
        assert wait.wait(PATIENCE)
        return round_of(service, work)

    round_of = Service._round
    monkeypatch.setattr(Service, "_round", held_back)
    # Whoever wants pings gets many.
    brief = functools.partial(uvicorn.Config, ws_ping_interval=0.1, ws_ping_timeout=0.1)
    monkeypatch.setattr(uvicorn, "Config", brief)
    running = Running()
    x = pcm(2.5)
    try:
        with running.stream() as stream:
            hello = stream.recv(PATIENCE)
            for n in range(0, len(x), 4000):
                stream.send(x[n : n + 4000].tobytes())
            threading.Timer(0.3, wait.set).start()
            stream.send(json.dumps({"type": "end"}))
            answer = b""
            while isinstance(message := stream.recv(PATIENCE), bytes):
                answer += message
        assert json.loads(hello)["type"] == "hello"
        assert len(answer) == 2 * len(x)
    finally:
        running.stop()


@pytest.mark.parametrize("part", ["", "G", "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
def test_a_connection_whose_request_does_not_come_is_closed(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Also where it has made a request before."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.3)
    running = Running()
    health = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    try:
        for before in ("", health):
            with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as client:
                client.sendall((before + part).encode())
                assert client.makefile("rb").read().startswith(b"HTTP/1.1 200" if before else b"")
            running.wait_until_disconnected()
    finally:
        running.stop()


def test_requests_and_streams_last_longer_than_the_time_for_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.1)
    running = Running()
    try:
        with running.stream() as stream, socket.create_connection(("127.0.0.1", running.port)) as client:
            client.sendall(b"POST /v1/denoise HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n1")
            hello = stream.recv(PATIENCE)
            with pytest.raises(TimeoutError):
                stream.recv(0.4)
            client.sendall(b"2")
            assert b" 400 " in client.recv(1000).splitlines()[0]
            stream.send(json.dumps({"type": "end"}))
            assert json.loads(stream.recv(PATIENCE))["type"] == "bye"
        assert json.loads(hello)["type"] == "hello"
    finally:
        running.stop()


def test_a_silent_client_is_closed_after_a_while() -> None:
    running = Running(limits=Limits(idle_seconds=0.3))
    try:
        with running.stream() as stream:
            assert refusal(stream) == (1001, "nothing came for 0.3 s")
    finally:
        running.stop()


def test_a_token_is_asked_for() -> None:
    running = Running(token="secret")
    try:
        with running.stream() as stream:
            assert refusal(stream) == (1008, "this server asks for a token")
        with running.stream("?token=wrong") as stream:
            assert refusal(stream)[0] == 1008
        for options in (
            {"query": "?token=secret"},
            {"additional_headers": {"Authorization": "Bearer secret"}},
        ):
            with running.stream(**options) as stream:
                assert json.loads(stream.recv(PATIENCE))["type"] == "hello"
        assert running.request("POST", "/v1/denoise", b"x")[0] == 401
        assert running.request("GET", "/metrics")[0] == 401
        assert running.request("GET", "/metrics", Authorization="Bearer secret")[0] == 200
        assert running.request("GET", "/health")[0] == 200
    finally:
        running.stop()


def test_other_sites_pages_are_refused(server: Running) -> None:
    with server.stream(origin="http://evil.example") as stream:
        assert refusal(stream)[0] == 1008
    with server.stream(origin=f"http://127.0.0.1:{server.port}") as stream:
        assert json.loads(stream.recv(PATIENCE))["type"] == "hello"
    assert server.request("POST", "/v1/denoise", b"x", Origin="http://evil.example")[0] == 403


def upgrade(server: Running, host: str, path: str = "/v1/stream") -> tuple[int, bytes]:
    """Answer to a WebSocket's opening handshake that names a host, its page's origin being that host."""
    headers: dict[str, str] = {
        "Host": host,
        "Origin": f"http://{host}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    return server.request("GET", path, b"", **headers)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8321", "localhost.evil.example", "[", "", "127.0.0.1.evil.example"]
)
def test_names_that_a_site_lets_point_here_are_refused(server: Running, host: str) -> None:
    for path in ("/", "/health", "/metrics"):
        status, answer = server.request("GET", path, Host=host, Origin=f"http://{host}")
        assert status == 421
        assert "--allow-host" in json.loads(answer)["error"]
    assert server.request("POST", "/v1/denoise", b"x", Host=host, Origin=f"http://{host}")[0] == 421
    assert upgrade(server, host)[0] in (403, 421)


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:99", "127.0.0.1:8321", "[::1]:8321", "192.168.1.7", "studio.example:80"]
)
def test_names_of_the_server_are_taken(server: Running, host: str) -> None:
    assert server.request("GET", "/health", Host=host)[0] == 200
    assert upgrade(server, host)[0] == 101


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/vocode", 404),
        ("GET", "/v1/denoise", 405),
        ("OPTIONS", "/v1/denoise", 405),
        ("GET", "/v1/stream", 404),
        ("GET", "/../../etc/passwd", 404),
        ("DELETE", "/health", 405),
    ],
)
def test_other_addresses_are_answered_with_the_right_ones(
    server: Running, method: str, path: str, status: int
) -> None:
    found, answer = server.request(method, path)
    assert found == status
    assert "POST /v1/denoise, WebSocket /v1/stream" in json.loads(answer)["error"]


@pytest.mark.parametrize("path", ["/", "/v1/stream/", "/v1/streams", "/v1/denoise", "/health"])
def test_streams_at_other_addresses_are_answered_with_the_right_one(server: Running, path: str) -> None:
    status, answer = upgrade(server, "localhost", path)
    assert status == 404
    assert "WebSocket /v1/stream" in json.loads(answer)["error"]


def test_streams_of_a_round_that_fails_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running()
    assert running.service is not None

    def broken() -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(running.service.streams, "step", broken)
    try:
        with running.stream() as stream:
            stream.recv(PATIENCE)
            stream.send(bytes(2000))
            with pytest.raises(ConnectionClosed, match="internal error: ZeroDivisionError"):
                stream.recv(PATIENCE)
        assert b"audiotool_failed_total 1\n" in running.request("GET", "/metrics")[1]
    finally:
        running.stop()


def test_the_page_and_its_parts(server: Running) -> None:
    for path, part in (
        ("/", b"<title>audiotool"),
        ("/page.js", b"getUserMedia"),
        ("/worklet.js", b"registerProcessor"),
    ):
        status, body = server.request("GET", path)
        assert status == 200
        assert part in body


def test_health_has_the_number_of_streams(server: Running) -> None:
    with server.stream() as stream:
        stream.recv(PATIENCE)
        found = json.loads(server.request("GET", "/health")[1])
    assert (found["status"], found["streams"], found["capacity"]) == ("ok", 1, 4)


def test_where_it_listens_for_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from audiotool.cli.app import app

    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: sockets[0].close())
    words = ["serve", "--port", "0", "--model", "denoise-tiny-16k", "--capacity", "3", "--json"]
    done = CliRunner().invoke(app, words)
    found = json.loads(done.stdout)
    assert (found["command"], found["task"], found["capacity"]) == ("serve", "denoise", 3)
    assert found["address"].startswith("http://127.0.0.1:")
