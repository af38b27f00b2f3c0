"""Single keys of a terminal, as a child process sees them that has a terminal of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

if sys.platform == "win32":
    pytest.skip("terminals of POSIX", allow_module_level=True)

BEGIN = """
import fcntl, os, signal, termios, time
from audiotool.cli.keys import keys
"""

OWNED = """
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
"""

JUDGED = """
status = os.waitpid(child, os.WUNTRACED)[1]
print("stopped" if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status))
os.killpg(child, signal.SIGKILL) if os.WIFSTOPPED(status) else None
"""


def run(code: str, typed: bytes, begin: str = BEGIN + OWNED) -> list[str]:
    """Return the lines that a program prints. The keys are typed when it has printed its first line."""
    keyboard, screen = os.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", begin + code],
            stdin=screen,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        ) as child:
            assert child.stdout is not None
            first = child.stdout.readline()
            os.write(keyboard, typed)
            return [first, *child.stdout]
    finally:
        os.close(keyboard)
        os.close(screen)


@pytest.mark.parametrize("typed", [b"bq", b"\xe9q", "éq".encode(), b"\x1b[Aq"])
def test_each_key_comes_by_itself_whatever_the_bytes(typed: bytes) -> None:
    code = f"""
with keys() as wait:
    print("ready", flush=True)
    print(ascii([wait(60) for _ in range({len(typed)})]))
    print(ascii(wait(0.01)))
"""
    assert run(code, typed) == ["ready\n", f"{[chr(byte) for byte in typed]!a}\n", "''\n"]


def test_a_terminal_of_another_session_has_keys() -> None:
    """As under `su -c` and `setsid`."""
    code = """
with keys() as wait:
    print("ready", flush=True)
    print(ascii([wait(60), wait(60)]))
"""
    assert run(code, b"bq", BEGIN) == ["ready\n", "['b', 'q']\n"]


@pytest.mark.parametrize("read", ["lambda *_: b''", "lambda *_: os.close(-1)"])
def test_a_terminal_that_is_gone_has_no_keys_and_is_read_now_and_then(read: str) -> None:
    """Before the system takes it away, reading returns nothing, or fails."""
    code = f"""
with keys() as wait:
    print("ready", flush=True)
    print(ascii(wait(60)))
    os.read = {read}
    begun = time.monotonic()
    print(ascii(wait(0.2)), time.monotonic() - begun >= 0.2)
"""
    assert run(code, b"bq") == ["ready\n", "'b'\n", "'' True\n"]


def test_a_program_in_the_background_has_no_keys_and_is_not_stopped() -> None:
    code = """
child = os.fork()
if not child:
    os.setpgid(0, 0)
    with keys() as wait:
        print("ready", flush=True)
        print(ascii(wait(1)), flush=True)
    os._exit(0)
"""
    assert run(code + JUDGED, b"q\n") == ["ready\n", "''\n", "0\n"]


def test_a_program_that_is_sent_to_the_background_goes_on() -> None:
    """As by Ctrl-Z and `bg`."""
    code = """
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = os.fork()
if not child:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpgrp())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    with keys() as wait:
        print("ready", flush=True)
        print(ascii(wait(60)), flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
        print(ascii(wait(0.01)), flush=True)
    os._exit(0)
os.waitpid(child, os.WUNTRACED)
os.tcsetpgrp(0, os.getpgrp())
os.kill(child, signal.SIGCONT)
"""
    assert run(code + JUDGED, b"bq\n") == ["ready\n", "'b'\n", "''\n", "0\n"]
