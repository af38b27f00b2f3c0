"""Connections of the server: the configuration of uvicorn, which holds them."""

from __future__ import annotations

import uvicorn
from starlette.applications import Starlette

GRACE_SECONDS = 5
"""Longest time for which a server that is stopped waits for its streams."""


def configuration(app: Starlette) -> uvicorn.Config:
    """Return the configuration of uvicorn for the addresses of a `Server`.

    The server sends no pings. While a client is held back nothing is read from it, so that its answers would wait
    behind its own audio. Dead clients are found by `Limits`, and by the system (`listen`).
    """
    return uvicorn.Config(
        app,
        log_level="warning",
        ws="websockets-sansio",
        ws_max_size=1 << 20,
        ws_ping_interval=None,
        ws_per_message_deflate=False,  # to pack samples takes longer than to clean them
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )
