"""Standard input, output and error in whatever state they come: closed, full, of a narrow encoding."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO

from audiotool.errors import InputError

ESCAPE = "audiotool-escape"
"""Name of the encoding error handler: what an encoding does not hold is written in ASCII."""

PLAIN = {"→": ">", "↑": "^", "↓": "v", "…": "~"}
"""What stands for our own signs, one character each: columns stay aligned."""


class Closed(io.TextIOWrapper):
    """Stands where a standard stream was closed: nothing comes from it, and what is written is lost."""

    def __init__(self, mode: str) -> None:
        super().__init__(open(os.devnull, mode), encoding="utf-8")  # noqa: SIM115 - lives as the process


class StandardOutput(io.TextIOWrapper):
    """Standard output, which says what stands against writing there in a sentence."""

    def write(self, text: str) -> int:
        with _told():
            return super().write(text)

    def flush(self) -> None:
        with _told():
            super().flush()


class StandardError(io.TextIOWrapper):
    """Standard error, on which work never fails: what cannot be written there is lost."""

    def __init__(self, encoding: str) -> None:
        raw = io.BufferedWriter(io.FileIO(2, "w", closefd=False))
        super().__init__(raw, encoding=encoding, errors=ESCAPE, line_buffering=True)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            super().flush()


def prepare() -> None:
    """Make this process's standard streams fit for any text. To be called once, first of all.

    The numbers of closed streams are occupied: a file that is opened later would get them, and what a library
    writes to standard error would land in it.
    """
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
        stream = sys.stdout.detach()
        # Without a buffer (PYTHONUNBUFFERED) a write may end early, unsaid.
        stream = io.BufferedWriter(stream) if isinstance(stream, io.RawIOBase) else stream
        sys.stdout = StandardOutput(stream, encoding=encoding, errors=ESCAPE, line_buffering=by_line)
    if isinstance(sys.stderr, io.TextIOWrapper) and not isinstance(sys.stderr, Closed):
        sys.stderr = StandardError(sys.stderr.encoding)


def finish() -> None:
    """Give up what could not be written: it was told, and the interpreter would try, and tell, again."""
    try:
        sys.stdout.flush()
    except (OSError, InputError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def standard_input() -> BinaryIO:
    """The bytes of standard input.

    Raises:
        InputError: it is closed.
    """
    if sys.stdin is None or isinstance(sys.stdin, Closed):
        raise InputError("standard input is closed: pipe audio into it, or name a file")
    return sys.stdin.buffer


def standard_output() -> BinaryIO:
    """Where bytes for standard output go.

    Raises:
        InputError: it is closed.
    """
    if sys.stdout is None or isinstance(sys.stdout, Closed):
        raise InputError("standard output is closed: redirect it, or give -o FILE")
    return sys.stdout.buffer


@contextlib.contextmanager
def _told() -> Iterator[None]:
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
