"""A server on loopback that tests share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from kit.patience import PATIENCE

from audiotool.streaming.session import Session

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


class Held(NamedTuple):
    """Sessions that are held at each block until the event is set; `fed` has the lengths of the blocks."""

    go_on: threading.Event
    fed: list[int]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    state, feed = Held(threading.Event(), []), Session.feed

    def held_feed(session: Session, block: Any) -> Any:
        state.fed.append(block.shape[1])
        assert state.go_on.wait(PATIENCE)
        return feed(session, block)

    monkeypatch.setattr(Session, "feed", held_feed)
    yield state
    state.go_on.set()


@pytest.fixture
def held_rounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Rounds of steps end once the event is set."""
    from audiotool.serve.service import Service

    go_on, round_of = threading.Event(), Service._round

    def held(service: Service, work: Any) -> list[bytes]:
        assert go_on.wait(PATIENCE)
        return round_of(service, work)

    monkeypatch.setattr(Service, "_round", held)
    yield go_on
    go_on.set()
