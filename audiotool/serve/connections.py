"""Connections of the server: uvicorn, which holds them, how they end, and the time for a request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Iterator

import uvicorn
from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from audiotool.serve.app import Server
from audiotool.serve.sessions import BAD_DATA, BAD_FRAME, LOST, POLICY, TOO_LONG, TOO_SLOW, UNREAD, Refused
from audiotool.signals import calling_on_hang_up

REQUEST_SECONDS = 20.0
"""Longest time until the head of a request (its line and headers) has come: from the connection's beginning,
or from the answer to the request before."""

HANDSHAKE_SECONDS = 5.0
"""Longest time for which a server that stops waits until clients have answered its closing frames."""

FLUSH_SECONDS = 20
"""Longest time for which a server that stops waits until its last answers have been read. The system drops a
client that reads nothing for so long (`Limits.stall_seconds`)."""

UNTAKEN = {
    BAD_FRAME: "a frame is malformed",
    BAD_DATA: "a text is not UTF-8",
    TOO_LONG: "a frame is too long",
}
"""Code with which uvicorn closes a stream by itself -> why."""

NO_ERRORS = (
    "Invalid UTF-8 sequence received from client.",
    "ASGI callable returned without completing handshake.",
    "ASGI callable returned without completing response.",
)
"""What uvicorn logs as errors and is none of the server's: a client's text that is not UTF-8, the refusal of
a stream before it is open, an answer that is cut because it is not read. `Sessions` logs the first and the
last."""


class Runner(uvicorn.Server):
    """Runs a server until a signal (SIGINT, SIGTERM, SIGHUP); a second SIGINT shortens the stop.

    uvicorn begins its own stop by closing all connections of WebSockets. Streams therefore end before, and
    their clients answer the closing frames: what a client has not read yet may be lost if its connection is
    closed while it sends.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(_configuration(server))
        self._server = server

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn takes SIGINT and SIGTERM. After the stop it raises each signal again, for those before.
        with super().capture_signals(), calling_on_hang_up(self.handle_exit):
            yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._server.sessions.stop(lambda: self.force_exit)
        end = time.monotonic() + HANDSHAKE_SECONDS
        while self._has_streams() and time.monotonic() < end and not self.force_exit:
            await asyncio.sleep(0.05)
        if self.force_exit:
            for connection in tuple(self.server_state.connections):
                connection.transport.abort()
        await super().shutdown(sockets)
        if self.force_exit:
            # uvicorn leaves it out then, and its task is cancelled with a traceback
            await self.lifespan.shutdown()

    def _has_streams(self) -> bool:
        return any(not isinstance(one, H11Protocol) for one in self.server_state.connections)


def _configuration(server: Server) -> uvicorn.Config:
    """Return the configuration of uvicorn for the addresses of a `Server`.

    The server sends no pings. While a client is held back nothing is read from it, so that its answers would
    wait behind its own audio. Dead clients are found by `Limits`, and by the system (`listen`).
    """
    configuration = uvicorn.Config(
        server.app(),
        http=_Connection,
        log_level="warning",
        ws=_Stream,
        ws_max_size=1 << 20,
        ws_ping_interval=None,
        ws_per_message_deflate=False,  # to pack samples takes longer than to clean them
        timeout_graceful_shutdown=FLUSH_SECONDS,
        server_header=False,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_of_the_server)
    return configuration


def _is_of_the_server(record: logging.LogRecord) -> bool:
    return record.msg not in NO_ERRORS


class _Connection(H11Protocol):
    """A connection that is closed if the head of a request does not come in time, and that tells the request
    (`LOST`) why its answer cannot be sent.

    uvicorn has such a timer between requests alone, and any byte stops it. What is sent on a connection that
    is lost it drops without a word.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop()
        if self.cycle is not None and self.cycle.disconnected:
            unread = Refused(TOO_SLOW, UNREAD)
            self.cycle.scope["state"][LOST] = unread if _is_dropped(exc) else ClientDisconnect()

    def _wait(self) -> None:
        self._stop()
        self._timer = self.loop.call_later(REQUEST_SECONDS, self._check)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        """Close the connection unless it answers a request, or has become a WebSocket's."""
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self in self.connections:
            self.transport.close()


class _Stream(WebSocketsSansIOProtocol):
    """The connection of a stream, which tells the stream (`LOST`) where it was not the client that ended it.

    uvicorn's own message of that lies behind those of the client that nobody has received yet, and looks like
    that of a client which closes with the same code.
    """

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        assert self.conn.close_sent is not None
        code = self.conn.close_sent.code
        self.scope["state"][LOST] = Refused(code, UNTAKEN.get(code, "internal error"))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if _is_dropped(exc):
            self.scope["state"][LOST] = Refused(POLICY, UNREAD)


def _is_dropped(error: Exception | None) -> bool:
    """Return whether the system has dropped a connection whose client reads nothing (`listen`)."""
    return isinstance(error, TimeoutError)
