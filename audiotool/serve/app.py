"""The server's addresses: streams by WebSocket, files by POST, health, metrics and a page for a browser.

    /v1/stream?rate=16000&format=s16le    binary frames in, binary frames out
    /v1/TASK                              a file in, a WAV out
    /health  /metrics  /

A stream begins with the server's message {"type": "hello", ...}, which announces its latency. Then the client
sends samples and receives samples, as binary messages. It may send {"type": "settings", "mix": ...,
"max_attenuation": ...} at any time. After the client's {"type": "end"} the server sends the tail and {"type":
"bye", ...} with statistics; a server that stops does so by itself, and each one where no message has come for
too long. No value from a client is used as a path or name on the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from audiotool.errors import AudiotoolError, InputError, StreamError
from audiotool.serve.files import Files
from audiotool.serve.metrics import metrics_text
from audiotool.serve.middleware import KnownHosts, Lingering, error_response
from audiotool.serve.requests import (
    NOT_ADMITTED,
    SETTINGS_KEYS,
    STREAM_KEYS,
    check_keys,
    check_rate,
    is_admitted,
    is_of_this_page,
    raw_of,
    reason,
    settings_of,
)
from audiotool.serve.service import CLIENT_ENDED, STOPS, Call, Service
from audiotool.serve.sessions import (
    BAD_DATA,
    CLIENT_LEFT,
    GOING_AWAY,
    LOST,
    NORMAL,
    POLICY,
    TRY_LATER,
    UNAVAILABLE,
    UNREAD,
    Limits,
    Refused,
    Sessions,
)
from audiotool.serve.uploads import Uploads
from audiotool.streaming.streams import FullError
from audiotool.version import __version__

PAGES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/worklet.js": ("worklet.js", "text/javascript"),
}
"""Path of an address -> file of this package, and its media type."""

SAFE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'unsafe-inline'; img-src data:;"
    " connect-src 'self' ws: wss:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass
class _Since:
    """Times since which a stream waits for its client, in seconds of the event loop's clock; None if it does
    not wait.

    Args:
        receiving: beginning of the wait for a message.
        sending: beginning of the wait for the client to read.
    """

    receiving: float | None = None
    sending: float | None = None


class Server:
    """The addresses of a service.

    Args:
        service: steps the streams.
        token: token that clients must send; None admits all.
        limits: of each client.
        hosts: names by which clients may address the server, beside IP addresses and localhost.
    """

    def __init__(
        self,
        service: Service,
        token: str | None = None,
        limits: Limits | None = None,
        hosts: Collection[str] = (),
    ) -> None:
        self.service = service
        self.limits = limits or Limits()
        self.sessions = Sessions(service)
        self._token = token
        self._hosts = hosts
        self._files = Files(service.pipeline, self.limits.upload_seconds)

    def app(self) -> Starlette:
        """Return the application for an ASGI server."""
        task = self.service.pipeline.task
        uploads = Uploads(self.service, self.sessions, self._files, self.limits, self._token)

        @contextlib.asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            async with self.service.running():
                yield
            self._files.close()

        app = Starlette(
            lifespan=lifespan,
            exception_handlers={HTTPException: self._misdirected},
            middleware=[Middleware(Lingering), Middleware(KnownHosts, names=self._hosts)],
            routes=[
                *(Route(path, self._page) for path in PAGES),
                Route("/health", self._health),
                Route("/metrics", self._metrics),
                Route(f"/v1/{task}", uploads, methods=["POST"]),
                WebSocketRoute("/v1/stream", self._stream),
                WebSocketRoute("/{path:path}", self._misdirected_stream),
            ],
        )
        # A redirection is no error to curl --fail, and leads around a proxy that removes a part of the path.
        app.router.redirect_slashes = False
        return app

    async def _page(self, request: Request) -> Response:
        name, kind = PAGES[request.url.path]
        text = (Path(__file__).parent / name).read_text("utf-8")
        return Response(text, media_type=kind, headers=SAFE_HEADERS)

    async def _misdirected(self, request: Request, error: Exception) -> Response:
        """Answer a request for another address, or with another method, with the right ones."""
        assert isinstance(error, HTTPException)
        return error_response(error.status_code, f"{error.detail}: {self._addresses}", error.headers)

    async def _misdirected_stream(self, socket: WebSocket) -> None:
        """Answer a WebSocket to another address as a request, before it is open."""
        await socket.send_denial_response(error_response(404, f"Not Found: {self._addresses}"))

    @property
    def _addresses(self) -> str:
        task = self.service.pipeline.task
        return f"this server has POST /v1/{task}, WebSocket /v1/stream, GET /health, /metrics and /"

    async def _health(self, request: Request) -> Response:
        service = self.service
        status, code = ("stopping", UNAVAILABLE) if service.stopping else ("ok", 200)
        found = {
            "status": status,
            "task": service.pipeline.task,
            "version": __version__,
            "streams": len(service.calls),
            "places_taken": service.places_taken,
            "capacity": service.capacity,
        }
        return JSONResponse(found, code)

    async def _metrics(self, request: Request) -> Response:
        if not is_admitted(self._token, request.headers, request.query_params):
            return error_response(401, NOT_ADMITTED)
        return PlainTextResponse(metrics_text(self.service), media_type="text/plain; version=0.0.4")

    async def _stream(self, socket: WebSocket) -> None:
        """Serve one stream, from its hello to its bye."""
        await socket.accept()
        call: Call | None = None
        try:
            with self.sessions.entry("stream", GOING_AWAY) as entry:
                call = await self._opened(socket)
                entry.begun = True
                try:
                    await self._converse(socket, call)
                    entry.end = call.end
                except (WebSocketDisconnect, RuntimeError, OSError):
                    # starlette raises RuntimeError for a message after that
                    if (refused := getattr(socket.state, LOST, None)) is not None:
                        raise refused from None
                    entry.end = CLIENT_LEFT
                finally:
                    entry.came(call.raw.rate, call.raw.channels, call.samples_in)
        except Refused as refused:
            await _close(socket, refused.code, str(refused))
        finally:
            if call is not None:
                await asyncio.shield(self.service.close(call))

    async def _opened(self, socket: WebSocket) -> Call:
        """Begin the stream that the query describes.

        Raises:
            Refused: the client is not admitted, a parameter is wrong, or too few places are free.
        """
        if not is_of_this_page(socket.headers.get("origin"), socket.headers.get("host")):
            raise Refused(POLICY, "requests of other sites' pages are not taken")
        if not is_admitted(self._token, socket.headers, socket.query_params):
            raise Refused(POLICY, NOT_ADMITTED)
        pipeline, query = self.service.pipeline, socket.query_params
        try:
            check_keys(query, STREAM_KEYS)
            if query.get("task", pipeline.task) != pipeline.task:
                raise InputError(f"this server's task is {pipeline.task}")
            raw, settings = raw_of(query), settings_of(query, pipeline.settings)
            check_rate(raw.rate, pipeline.at(raw.rate).sample_rate)
            return await self.service.open(raw, settings)
        except FullError as error:
            raise Refused(TRY_LATER, error) from error
        except AudiotoolError as error:
            raise Refused(POLICY, error) from error

    async def _converse(self, socket: WebSocket, call: Call) -> None:
        hello = {
            "type": "hello",
            "task": self.service.pipeline.task,
            "format": call.raw.encoding,
            "rate": call.raw.rate,
            "channels": call.raw.channels,
            "output_rate": call.answer.rate,
            "output_channels": call.answer.channels,
            "latency_samples": call.stream.latency,
            "latency_ms": round(call.latency_ms, 2),
        }
        await socket.send_text(json.dumps(hello))
        since = _Since()
        sending = asyncio.create_task(self._send(socket, call, since))
        tasks = [
            asyncio.create_task(self._receive(socket, call, since)),
            sending,
            asyncio.create_task(self._watch(call, since)),
        ]
        try:
            running = set(tasks)
            while running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                # The closing frame ends the receiving, too, with an error of its own.
                if sending in done and sending.exception() is None:
                    return
                for task in tasks:  # the receiving first, which knows more of a connection that is gone
                    if task in done:
                        task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, call: Call, since: _Since) -> NoReturn:
        """Watch the limits of time of a stream, and end its input if the client sends nothing for too long.

        They are checked once a second, which costs less than a timer for each message.

        Raises:
            Refused: the client has read nothing for too long.
        """
        limits, loop = self.limits, asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(1.0, limits.idle_seconds / 4, limits.stall_seconds / 4))
            now = loop.time()
            if since.receiving is not None and now - since.receiving > limits.idle_seconds:
                self.service.end(call, f"nothing came for {limits.idle_seconds:g} s")
            if since.sending is not None and now - since.sending > limits.stall_seconds:
                raise Refused(POLICY, UNREAD)

    async def _receive(self, socket: WebSocket, call: Call, since: _Since) -> None:
        """Receive the client's messages until the one that ends the stream."""
        loop = asyncio.get_running_loop()
        while True:
            await call.has_room()
            since.receiving = loop.time()
            message = await socket.receive()
            since.receiving = None
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", GOING_AWAY))
            if message.get("bytes") is not None:
                self.service.feed(call, message["bytes"])
            elif self._ends(message.get("text") or "", call):
                self.service.end(call)
                return

    def _ends(self, text: str, call: Call) -> bool:
        """Handle a text message; return whether it ends the stream.

        Raises:
            Refused: the message is malformed, unknown, or its settings are out of range.
        """
        try:
            fields: Any = json.loads(text)
            kind = fields.pop("type")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise Refused(BAD_DATA, 'a text is a JSON object with a type: {"type": "end"}') from None
        if kind == "end" and not fields:
            return True
        if kind != "settings" or not fields.keys() <= SETTINGS_KEYS.keys():
            known = ", ".join(SETTINGS_KEYS)
            raise Refused(BAD_DATA, f'there are {{"type": "end"}} and {{"type": "settings", {known}}}')
        try:
            self.service.change(call, settings_of(fields, call.settings))
        except AudiotoolError as error:
            raise Refused(BAD_DATA, error) from error
        return False

    async def _send(self, socket: WebSocket, call: Call, since: _Since) -> None:
        """Send output as it is ready, and at the end the statistics.

        Raises:
            Refused: the stream cannot continue, or a limit has ended it.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = await call.next()
            except StreamError as error:
                raise Refused(BAD_DATA, error) from error
            if data is None:
                break
            since.sending = loop.time()
            await socket.send_bytes(data)
            since.sending = None
            self.service.mark_sent(call, data)
        bye = {
            "type": "bye",
            "samples_in": call.samples_in,
            "samples_out": call.samples_out,
            "seconds": round(call.samples_in / call.raw.rate, 3),
            "limited": call.limited,
            "bytes_left_out": call.incomplete_bytes,
            "reason": call.end,
        }
        since.sending = loop.time()
        await socket.send_text(json.dumps(bye))
        if call.end == CLIENT_ENDED:
            await socket.close(NORMAL)
        elif call.end == STOPS:
            await socket.close(GOING_AWAY, call.end)
        else:
            raise Refused(GOING_AWAY, call.end)  # a limit, which is counted


async def _close(socket: WebSocket, code: int, message: str) -> None:
    with contextlib.suppress(RuntimeError, OSError, WebSocketDisconnect, asyncio.TimeoutError):
        await asyncio.wait_for(socket.close(code, reason(message)), 5.0)
