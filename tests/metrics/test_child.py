"""A request that is interrupted leaves nothing behind that another request could take for its answer."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

import numpy as np
import pytest
from kit.patience import PATIENCE

from audiotool.metrics.child import Child
from audiotool.metrics.pesq import PesqWorker

SLOW_ECHO = """
import json, sys, time
for line in sys.stdin:
    time.sleep(0.5 if line == "slow\\n" else 0)
    print(json.dumps({"request": line.strip()}), flush=True)
"""


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child("ECHO", [sys.executable, "-c", SLOW_ECHO], timeout_s=PATIENCE)
    yield child
    child.close()


def ask_and_interrupt(child: Child, request: bytes, error: BaseException) -> None:
    """Send a request, and raise an error from a signal's handler before its answer comes."""

    def handler(number: int, frame: object) -> NoReturn:
        raise error

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        child.ask(request)
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no alarms")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), TimeoutError("limit")])
def test_the_request_after_an_interrupted_one_gets_its_own_answer(child: Child, error: BaseException) -> None:
    assert child.ask(b"first\n") == {"request": "first"}
    with pytest.raises(type(error)):
        ask_and_interrupt(child, b"slow\n", error)
    assert child.ask(b"second\n") == {"request": "second"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for other programs")
def test_an_interrupt_of_the_process_group_spares_the_worker() -> None:
    worker, silence = PesqWorker(timeout_s=PATIENCE), np.zeros(8000)
    assert worker.score(silence, silence, 8000) is None
    process = worker._process
    assert process is not None
    os.kill(process.pid, signal.SIGINT)
    assert worker.score(silence, silence, 8000) is None
    assert worker._process is process
    worker.close()
