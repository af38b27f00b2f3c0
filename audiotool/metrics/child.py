"""Child processes that compute scores, so that a crash in a library loses one score and not this process."""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import os
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from audiotool.metrics.base import Unscorable

_OPEN: weakref.WeakSet[Child] = weakref.WeakSet()

PATIENCE = 5.0
"""Seconds in which a child that answers no more ends by itself; then it is killed."""

LAST_WORDS = 2000
"""Number of bytes of a dead child's standard error that are read."""


class Child:
    """A process that answers each request with one line of JSON.

    It is started at the first request, and again when it has died.

    Args:
        name: name of the metric, for messages.
        command: the command line.
        timeout_s: seconds after which a request is given up; None waits for ever.
        environment: additional environment variables.
    Attributes:
        folder: working folder; None is that of this process.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        timeout_s: float | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.timeout_s = timeout_s
        self.folder: Path | None = None
        self.environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def ask(self, request: bytes) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises:
            Unscorable: the answer is {"error": why}, or the process cannot be started, died or took too long.
            BaseException: what interrupts the request, as KeyboardInterrupt; the process has then ended.
        """
        with self._lock:
            try:
                answer = self._ask(request)
            except BaseException:
                # An interrupted request, or its answer, would be in the pipes of the next one.
                self.close()
                raise
        if "error" in answer:
            raise Unscorable(str(answer["error"]))
        return answer

    def close(self) -> None:
        """End the process; the next request starts another."""
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, self._complaints):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # what was still to be written has nobody to read it

    def _ask(self, request: bytes) -> dict[str, Any]:
        try:
            process = self._running()
        except OSError as error:
            return {"error": f"{self.name}: cannot run {self.command[0]}: {error.strerror}"}
        assert process.stdin is not None
        assert process.stdout is not None
        expired = threading.Event()

        def give_up() -> None:
            expired.set()
            process.kill()

        timer = None if self.timeout_s is None else threading.Timer(self.timeout_s, give_up)
        if timer is not None:
            timer.start()
        try:
            process.stdin.write(request)
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError as error:
            # Not other errors of the system: a signal handler of the caller may raise one, as TimeoutError.
            if not isinstance(error, ConnectionError) and error.errno != errno.EINVAL:
                raise
            line = b""
        finally:
            if timer is not None:
                timer.cancel()
        answer = _read(line)
        if answer is not None:
            return answer
        if line.endswith(b"\n"):
            self.close()
            shown = " ".join(line[:80].decode(errors="replace").split())
            return {"error": f"{self.name} answers what is no answer: {shown}"}
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        last_words = self._last_words()
        self.close()
        code = process.returncode
        if expired.is_set():
            return {"error": f"{self.name} took more than {self.timeout_s:g} s"}
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return {"error": f"{self.name} crashed ({how}){last_words}"}

    def _last_words(self) -> str:
        """Return the last line of the process's standard error, after a colon."""
        assert self._complaints is not None
        size = self._complaints.seek(0, os.SEEK_END)
        self._complaints.seek(max(0, size - LAST_WORDS))
        lines = self._complaints.read().decode(errors="replace").split("\n")
        last = next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")
        return f": {last}" if last else ""

    def _running(self) -> subprocess.Popen[bytes]:
        # A process inherited through fork belongs to the parent.
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self._end()
            self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - see `close`
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                cwd=self.folder,
                env={**os.environ, **self.environment},
            )
            self._owner = os.getpid()
            _OPEN.add(self)
        return self._process


def _read(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def close_children() -> None:
    """Stop all child processes of this process."""
    for child in list(_OPEN):
        child.close()


atexit.register(close_children)
