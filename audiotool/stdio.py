"""Standard input, output and error, also if they are closed, full, or of an encoding that lacks
characters."""

from __future__ import annotations

import codecs
import contextlib
import io
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import BinaryIO, TextIO

from audiotool.errors import InputError

log = logging.getLogger(__name__)

ESCAPE = "audiotool-escape"
"""Name of the encoding error handler that replaces characters which an encoding lacks by ASCII."""

PLAIN = {"→": ">", "↑": "^", "↓": "v", "…": "~"}
"""Replacements of the characters that audiotool itself prints, one for one, so that columns stay aligned."""

_own: TextIO | None = None
"""Standard output for audiotool's own text and bytes, see `prepare`; None: it is `sys.stdout`."""


class Closed(io.TextIOWrapper):
    """Replacement of a closed standard stream: reads return nothing, writes are dropped."""

    def __init__(self, mode: str) -> None:
        super().__init__(open(os.devnull, mode), encoding="utf-8")  # noqa: SIM115 - lives as the process


class StandardOutput(io.TextIOWrapper):
    """Standard output whose errors are messages for the user."""

    def write(self, text: str) -> int:
        with as_input_error():
            return super().write(text)

    def flush(self) -> None:
        with as_input_error():
            super().flush()


class StandardError(io.TextIOWrapper):
    """Standard error whose writes never fail: text that cannot be written is dropped.

    It writes to a copy of descriptor 2, so that silences do not touch what other threads write meanwhile.

    Args:
        encoding: of the text.
    """

    def __init__(self, encoding: str) -> None:
        self._lock, self._silences = threading.Lock(), 0
        buffer = io.BufferedWriter(io.FileIO(os.dup(2), "wb", closefd=False))
        super().__init__(buffer, encoding=encoding, errors=ESCAPE, line_buffering=True)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            super().flush()

    def begin_silence(self) -> None:
        """Drop what others than this stream write to descriptor 2, until as many calls of `end_silence`."""
        with self._lock:
            if not self._silences:
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 2)
                os.close(null)
            self._silences += 1

    def end_silence(self) -> None:
        """Undo one `begin_silence`."""
        with self._lock:
            self._silences -= 1
            if not self._silences:
                os.dup2(self.fileno(), 2)


def prepare() -> None:
    """Prepare this process's standard streams for any text. Call it once, before anything else.

    Unless standard output is a terminal, it is kept in a copy of descriptor 1, and the descriptor becomes
    standard error: what libraries in C and child processes print does not get into data. `reserve_output`
    does the same for `sys.stdout`.

    The file descriptors of closed streams are opened on the null device. Otherwise a file that is opened
    later would get one of them, and libraries would write their messages into it.
    """
    global _own
    codecs.register_error(ESCAPE, _escape)
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # They are None where the process began without them.
    sys.stdin = sys.stdin or Closed("rb")
    sys.stdout = sys.stdout or Closed("wb")
    sys.stderr = sys.stderr or Closed("wb")
    if isinstance(sys.stdout, io.TextIOWrapper) and not isinstance(sys.stdout, Closed):
        encoding, by_line = sys.stdout.encoding, sys.stdout.line_buffering
        is_terminal = sys.stdout.isatty()
        stream = sys.stdout.detach() if is_terminal else io.FileIO(os.dup(1), "wb", closefd=False)
        # Without a buffer (PYTHONUNBUFFERED) a write may be incomplete without an error.
        stream = io.BufferedWriter(stream) if isinstance(stream, io.RawIOBase) else stream
        sys.stdout = StandardOutput(stream, encoding=encoding, errors=ESCAPE, line_buffering=by_line)
        if not is_terminal:
            _own = sys.stdout
            os.dup2(2, 1)
    if isinstance(sys.stderr, io.TextIOWrapper) and not isinstance(sys.stderr, Closed):
        # Bytes that are written to a console of Windows are of its code page; the stream itself has UTF-8.
        console = os.device_encoding(2) if sys.platform == "win32" else None
        sys.stderr = StandardError(console or sys.stderr.encoding)


def output() -> TextIO:
    """Return the stream for audiotool's own text on standard output."""
    return sys.stdout if _own is None else _own


def reserve_output() -> None:
    """Leave standard output to `output` and `standard_output`: what others print goes to standard error.

    Without `prepare`, and on a terminal, everything stays as it is.
    """
    if _own is not None:
        sys.stdout = sys.stderr


@contextlib.contextmanager
def reserved_output() -> Iterator[None]:
    """Do what `reserve_output` does, for a while."""
    before = sys.stdout
    reserve_output()
    try:
        yield
    finally:
        sys.stdout = before


def finish() -> None:
    """Drop output that could not be written: the error was reported, and the interpreter would try and report
    again."""
    try:
        output().flush()
    except (OSError, InputError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), output().fileno())


def standard_input() -> BinaryIO:
    """Return standard input, as bytes.

    Raises:
        InputError: it is closed, or replaced by a stream of text alone, as in a notebook.
    """
    if sys.stdin is None or isinstance(sys.stdin, Closed):
        raise InputError("standard input is closed: pipe audio into it, or name a file")
    if not hasattr(sys.stdin, "buffer"):
        raise InputError("standard input gives no bytes here: name a file")
    return sys.stdin.buffer


def standard_output() -> BinaryIO:
    """Return standard output, for bytes.

    Raises:
        InputError: it is closed, or replaced by a stream of text alone, as in a notebook.
    """
    stream = output()
    if stream is None or isinstance(stream, Closed):
        raise InputError("standard output is closed: redirect it, or give -o FILE")
    if not hasattr(stream, "buffer"):
        raise InputError("standard output takes no bytes here: name a file")
    return stream.buffer


@contextlib.contextmanager
def silent_libraries() -> Iterator[None]:
    """Drop what libraries in C write to standard error; `sys.stderr` writes there as before.

    Such libraries write to descriptor 2. Nothing is dropped with `--debug`, nor without `prepare`.
    """
    stream = sys.stderr
    if not isinstance(stream, StandardError) or log.isEnabledFor(logging.DEBUG):
        yield
        return
    stream.begin_silence()
    try:
        yield
    finally:
        stream.end_silence()


@contextlib.contextmanager
def as_input_error() -> Iterator[None]:
    """Raise an `InputError` in place of an `OSError` of standard output; a closed pipe stays as it is."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(f"cannot write to standard output: {error.strerror or error}") from error


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(sign: str) -> str:
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode()
