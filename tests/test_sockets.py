"""Sockets between processes, where the folder of temporary files has a long path."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.fast,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has pipes with names of their own"),
]

SERVED = """
import os, tempfile
from multiprocessing import util
from multiprocessing.connection import Listener

from audiotool import sockets

sockets.SHORT = os.environ["SHORT"]
try:
    sockets.place_sockets()
except sockets.AudiotoolError as error:
    raise SystemExit(str(error))
with Listener(family="AF_UNIX"):
    print(tempfile.gettempdir(), util.get_temp_dir(), oct(os.stat(util.get_temp_dir()).st_mode & 0o777))
"""


def served(usual: Path, short: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that opens a socket, and prints the usual folder, that of its sockets and its mode."""
    usual.mkdir()
    environment = os.environ | {"TMPDIR": str(usual), "SHORT": str(short)}
    return subprocess.run([sys.executable, "-c", SERVED], env=environment, capture_output=True, text=True)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path fits, however long those of pytest are."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


def test_a_long_path_moves_the_sockets_alone(tmp_path: Path, short: Path) -> None:
    long = tmp_path / ("d" * 100)
    usual, sockets, mode = served(long, short).stdout.split()
    assert usual == str(long)
    assert Path(sockets).parent == short
    assert mode == "0o700"
    assert not any(short.iterdir()), "the folder is removed at the end"


def test_a_short_path_is_used(short: Path) -> None:
    usual, sockets, _ = served(short / "usual", Path("/nowhere")).stdout.split()
    assert Path(sockets).parent == Path(usual) == short / "usual"


def test_a_long_path_without_another_is_refused(tmp_path: Path) -> None:
    done = served(tmp_path / ("d" * 100), tmp_path / "missing")
    assert done.returncode == 1
    assert "cannot be used (No such file or directory): set TMPDIR to a shorter path" in done.stderr
    assert len(done.stderr.splitlines()) == 1
