"""A server on a free port of loopback, and what its clients say."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

import audiotool
from audiotool.serve.app import Server
from audiotool.serve.connections import Runner
from audiotool.serve.listen import listen
from audiotool.serve.service import Service
from audiotool.serve.sessions import Limits
from kit.audio import speech_like
from kit.patience import PATIENCE, wait_until

drops_connections = pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system does not drop connections that stall"
)


class Running:
    """A server in a thread, for a `with` statement."""

    def __init__(self, **options: Any) -> None:
        capacity = options.pop("capacity", 4)
        self._model = options.pop("model", "denoise-tiny-16k")
        limits = options.get("limits", Limits())
        self.listener = listen("127.0.0.1", 0, limits.stall_seconds)
        self.port = self.listener.getsockname()[1]
        self.service: Service | None = None
        self._options, self._capacity = options, capacity
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(PATIENCE)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self.service = Service(audiotool.load(self._model), self._capacity)
        self.server = Runner(Server(self.service, **self._options))
        self._started.set()
        await self.server.serve([self.listener])

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def wait_until_idle(self) -> None:
        """Return when no stream is left: a client knows of its end before the server has freed its place."""
        assert self.service is not None
        service = self.service
        wait_until(lambda: not service.calls and not len(service.streams))

    def wait_until_disconnected(self) -> None:
        """Return when all connections are closed, by clients or by the server."""
        wait_until(lambda: not self.server.server_state.connections)

    def stream(self, query: str = "", **options: Any) -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.port}/v1/stream{query}", open_timeout=PATIENCE, **options)

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        answer, content = self.answer(method, path, body, **headers)
        return answer.status, content

    def answer(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Status and headers of an answer, and its content."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(client):
            client.request(method, path, body or None, headers)
            answer = client.getresponse()
            return answer, answer.read()


def pcm(seconds: float, rate: int = 16000, channels: int = 1) -> NDArray[np.int16]:
    """Synthetic speech as samples of 16 bit, (time, channels)."""
    return (speech_like(seconds, rate, channels).T * 32767).astype("<i2")


def file_of(
    waveform: NDArray[Any], rate: int = 16000, form: str = "WAV", subtype: str | None = None
) -> bytes:
    """The bytes of a recording (channels, time)."""
    memory = io.BytesIO()
    soundfile.write(memory, waveform.T, rate, format=form, subtype=subtype)
    return memory.getvalue()


def post_head(length: int, *lines: str) -> bytes:
    """The head of a request that sends a file of so many bytes, with other lines of it."""
    own = ("POST /v1/denoise HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}")
    return "".join(f"{line}\r\n" for line in (*own, *lines, "")).encode()


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
"""Headers of a WebSocket's opening handshake."""


def stream_head(query: str = "") -> bytes:
    """The opening handshake of a stream."""
    lines = (f"GET /v1/stream{query} HTTP/1.1", "Host: 127.0.0.1")
    return "".join(f"{x}\r\n" for x in (*lines, *map(": ".join, UPGRADE.items()), "")).encode()


def until_bye(stream: ClientConnection) -> tuple[bytes, dict[str, Any]]:
    """Return the rest of the audio, and the bye."""
    audio = b""
    while isinstance(message := stream.recv(PATIENCE), bytes):
        audio += message
    return audio, json.loads(message)


def talk(stream: ClientConnection, data: bytes, size: int) -> tuple[dict[str, Any], bytes, dict[str, Any]]:
    """Send in pieces, end, and return hello, answer and bye."""
    hello = json.loads(stream.recv(PATIENCE))
    for n in range(0, len(data), size):
        stream.send(data[n : n + size])
    stream.send(json.dumps({"type": "end"}))
    return hello, *until_bye(stream)


def refusal(stream: ClientConnection) -> tuple[int, str]:
    """Return the code and the reason with which the server closes a stream."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            stream.recv(PATIENCE)
    assert stream.close_code is not None
    return stream.close_code, stream.close_reason or ""


@contextlib.contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run `audiotool serve` in a process of its own, for signals; yield it and its port."""
    words = ("-m", "audiotool", "serve", "--port", "0", "--model", "denoise-tiny-16k")
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True, encoding="utf-8")
    assert process.stderr is not None
    try:
        address = process.stderr.readline().split()[3]
        yield process, int(address.rstrip("/").rpartition(":")[2])
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
