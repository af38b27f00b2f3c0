"""Connections of the server: the configuration of uvicorn, which holds them, and the time for a request."""

from __future__ import annotations

import asyncio

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 20.0
"""Longest time until the head of a request (its line and headers) has come: from the connection's beginning,
or from the answer to the request before."""

GRACE_SECONDS = 5
"""Longest time for which a server that is stopped waits for its streams."""


def configuration(app: Starlette) -> uvicorn.Config:
    """Return the configuration of uvicorn for the addresses of a `Server`.

    The server sends no pings. While a client is held back nothing is read from it, so that its answers would
    wait behind its own audio. Dead clients are found by `Limits`, and by the system (`listen`).
    """
    return uvicorn.Config(
        app,
        http=_Connection,
        log_level="warning",
        ws="websockets-sansio",
        ws_max_size=1 << 20,
        ws_ping_interval=None,
        ws_per_message_deflate=False,  # to pack samples takes longer than to clean them
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )


class _Connection(H11Protocol):
    """A connection that is closed if the head of a request does not come in time.

    uvicorn has such a timer between requests alone, and any byte stops it.
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
