"""The socket on which a server listens."""

from __future__ import annotations

import socket

from audiotool.errors import InputError

BACKLOG = 1024
"""Greatest number of connections that wait to be accepted."""


def listen(host: str, port: int, stall_seconds: float) -> socket.socket:
    """Listen on an address; port 0 takes a free one.

    On Linux the system drops a connection whose client reads nothing for `stall_seconds`. The server itself
    can only close the connection, which waits until the client has read what was sent before.

    Raises:
        InputError: the address does not exist, or is in use.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InputError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Connections inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * stall_seconds))
    return listener
