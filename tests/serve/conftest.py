"""A server on loopback that tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kit.server import Running


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Running]:
    from kit.server import Running

    running = Running(capacity=4, hosts=("studio.example",))
    yield running
    running.stop()


@pytest.fixture
def server(shared_server: Running) -> Running:
    """A server on which no stream of another test is left."""
    shared_server.wait_until_idle()
    return shared_server
