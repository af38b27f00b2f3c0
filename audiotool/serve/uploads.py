"""Recordings by POST: admitted, received, processed and sent back, with a place in `Files` all the time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from audiotool.errors import AudiotoolError, InputError
from audiotool.serve.files import Files
from audiotool.serve.middleware import error_response
from audiotool.serve.requests import (
    FILE_KEYS,
    NOT_ADMITTED,
    check_keys,
    header_text,
    is_admitted,
    is_of_this_page,
    settings_of,
)
from audiotool.serve.service import Service
from audiotool.serve.sessions import (
    CLIENT_LEFT,
    LOST,
    TOO_SLOW,
    UNAVAILABLE,
    Limits,
    LogEntry,
    Refused,
    Sessions,
)
from audiotool.streaming.session import Settings

WARNINGS = "Audiotool-Warnings"
"""Header of an answer to a file: remarks on it, such as that it is truncated or has nothing to extend, and on
what of it the WAV does not hold."""

PIECE_BYTES = 1 << 16
"""Size of the pieces in which an answer is sent. What uvicorn is given stays in memory until it is read."""

Result = TypeVar("Result")


class Uploads:
    """The address of recordings: an application, and no function of Starlette's, which would send the answer
    after the recording's place is free.

    Args:
        service: the server's.
        sessions: the streams and files that the server works on.
        files: processes them.
        limits: of each client.
        token: token that clients must send; None admits all.
    """

    def __init__(
        self, service: Service, sessions: Sessions, files: Files, limits: Limits, token: str | None
    ) -> None:
        self._service = service
        self._sessions = sessions
        self._files = files
        self._limits = limits
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a recording in the body with a WAV."""
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            with self._sessions.entry("file", UNAVAILABLE) as entry:
                try:
                    await self._serve(Request(scope, receive), entry, noting)
                except ClientDisconnect:
                    entry.end = CLIENT_LEFT
                    if not begun:
                        await error_response(400, CLIENT_LEFT)(scope, receive, send)  # to nobody
                except AudiotoolError as error:
                    raise Refused(400, error) from error
        except Refused as refused:
            if not begun:  # an answer that is being sent is cut
                await error_response(refused.code, str(refused))(scope, receive, send)

    async def _serve(self, request: Request, entry: LogEntry, send: Send) -> None:
        """Receive, process and send back a recording.

        Raises:
            Refused, AudiotoolError: the request, or its recording, is not taken, or takes too long.
            ClientDisconnect: the client closed the connection before the end of its answer.
        """
        settings = self._checked(request)
        entry.begun = True
        async with self._files.places:
            body = await self._body(request)
            done = await _while_connected(request, self._files.process(body, settings))
            del body
            entry.came(done.sample_rate, done.channels, done.frames)
            warned = "; ".join(done.warnings)
            headers = {WARNINGS: header_text(warned)} if warned else {}
            answer = _Pieces(done.wav, media_type="audio/wav", headers=headers)
            try:
                sending = answer(request.scope, request.receive, send)
                await asyncio.wait_for(sending, self._limits.arrival_seconds)
            except asyncio.TimeoutError:
                raise Refused(TOO_SLOW, "its answer was read too slowly") from None
            if (lost := getattr(request.state, LOST, None)) is not None:
                raise lost
            entry.end = f"processed, {warned}" if warned else "processed"
            self._service.counters.files += 1

    def _checked(self, request: Request) -> Settings:
        """Check the head of a request, and return the settings of its recording.

        Raises:
            Refused, AudiotoolError: the request is not taken.
        """
        if not is_admitted(self._token, request.headers, request.query_params):
            raise Refused(401, NOT_ADMITTED)
        if not is_of_this_page(request.headers.get("origin"), request.headers.get("host")):
            raise Refused(403, "requests of other sites' pages are not taken")
        if request.headers.get("content-type", "").lower().startswith("multipart/"):
            raise Refused(415, "a form is not taken: send the recording itself as the body")
        if (coding := request.headers.get("content-encoding", "")).lower() not in ("", "identity"):
            raise Refused(415, f"a body coded with {coding[:40]} is not taken: send the recording itself")
        check_keys(request.query_params, FILE_KEYS)
        settings = settings_of(request.query_params, self._service.pipeline.settings)
        if self._files.places.locked():
            raise Refused(UNAVAILABLE, "all places for files are taken: try again later")
        return settings

    async def _body(self, request: Request) -> bytes:
        """Return a request's body.

        Raises:
            Refused: it arrives too slowly, or is too long.
            InputError: it is empty.
            ClientDisconnect: the client closed the connection before the end.
        """
        limits, parts, size = self._limits, list[bytes](), 0
        end = time.monotonic() + limits.arrival_seconds
        stream = request.stream().__aiter__()
        with contextlib.suppress(StopAsyncIteration):
            while True:
                patience = min(limits.stall_seconds, end - time.monotonic())
                try:
                    part = await asyncio.wait_for(stream.__anext__(), patience)
                except asyncio.TimeoutError:
                    raise Refused(TOO_SLOW, "the recording does not come, or too slowly") from None
                size += len(part)
                if size > limits.upload_bytes:
                    raise Refused(413, f"a recording has at most {limits.upload_bytes} bytes here")
                parts.append(part)
        if not size:
            raise InputError("the request has no body: send a recording in it")
        return b"".join(parts)


class _Pieces(Response):
    """A response that is sent in pieces, each when the client has read most of those before."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for n in range(0, len(self.body), PIECE_BYTES):
            piece = self.body[n : n + PIECE_BYTES]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)  # a connection that is gone says so only between two pieces
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of work, which is cancelled if the client closes the connection before.

    Args:
        request: whose body has been read.
    Raises:
        ClientDisconnect: the client closed the connection.
    """
    done, watch = asyncio.create_task(work), asyncio.create_task(_until_disconnected(request))
    try:
        await asyncio.wait((done, watch), return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            raise ClientDisconnect
        return done.result()
    finally:
        for task in (done, watch):
            task.cancel()
        await asyncio.gather(done, watch, return_exceptions=True)


async def _until_disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
