"""Around all addresses: unknown names are refused, and the bodies of refused requests are read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audiotool.serve.requests import is_of_known_host
from audiotool.serve.sessions import UNAVAILABLE

RETRY_SECONDS = 10
"""Time after which a file that finds no place may come again: that of a file of 600 s."""

LINGER_SECONDS = 15.0
"""Longest time for which the rest of a request is read after its answer. It ends before a server that stops
loses its patience (`connections.FLUSH_SECONDS`)."""


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a refusal as JSON; one with 503 says when to come again."""
    if status == UNAVAILABLE:
        headers = {**(headers or {}), "Retry-After": str(RETRY_SECONDS)}
    return JSONResponse({"error": message}, status, headers)


class KnownHosts:
    """Refuses requests whose `Host` is not a name of this server."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or is_of_known_host(Headers(scope=scope).get("host"), self._names):
            await self._app(scope, receive, send)
        else:
            refusal = error_response(
                421, "this server is not known by that name: start it with --allow-host NAME"
            )
            await refusal(scope, receive, send)


class Lingering:
    """Reads the rest of a request after its answer, before the answer ends.

    A connection that is closed with unread bytes is reset, and a client that still sends a recording then
    loses the answer that refuses it. The answer is sent at once; only the note that it is complete waits.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_read = False

        async def noting() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = message["type"] == "http.disconnect" or not message.get("more_body", False)
            return message

        async def read_all() -> None:
            while not is_read:
                await noting()

        async def late(message: Message) -> None:
            if is_read or message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            await send({**message, "more_body": True})
            # This is the last that the request's task does: cancelled by a server that stops it is done, too.
            with contextlib.suppress(asyncio.TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(read_all(), LINGER_SECONDS)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, noting, late)
