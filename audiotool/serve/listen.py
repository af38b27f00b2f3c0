"""The socket on which a server listens."""

from __future__ import annotations

import errno
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
    except (OSError, UnicodeError) as error:  # UnicodeError: a part of the name is empty, or too long
        raise InputError(f"cannot listen on '{host}', which has no address: give another --host") from error
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        # Python adds the address once more. `os.strerror` knows no errors of Windows' sockets.
        why = (error.strerror or str(error)).partition(" (while attempting to bind ")[0]
        option = "--port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "--host"
        raise InputError(f"cannot listen on {host}, port {port}: {why}: give another {option}") from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Connections inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * stall_seconds))
    return listener
