"""Ports of loopback for programs that must be told theirs."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """A port on which a program may listen, and which the system gives to nobody else in this context.

    The socket that holds it does not listen, so that connections to it are refused until the program does.
    """
    with socket.socket() as holder:
        for option in ("SO_REUSEADDR", "SO_REUSEPORT"):
            holder.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
