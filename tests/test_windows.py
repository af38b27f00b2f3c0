"""What Windows lacks is not asked for: the parts of Python that are missing there are taken away."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import write_speech

from audiotool import cores, stdio
from audiotool.atomic import PART, cause, obstacle, remove_leftovers, replacing

AS_ON_WINDOWS = """
import os, signal, sys
# The libraries themselves stay those of this system, so they are imported before.
import multiprocessing.connection, multiprocessing.popen_spawn_posix, multiprocessing.resource_tracker
import asyncio, logging.handlers, onnxruntime, platformdirs, rich.console, rich.progress, soundfile
import subprocess, typer
for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "fchmod", "fchown", "fork", "geteuid", "getuid",
             "killpg", "mkfifo", "pread", "sched_getaffinity", "setsid", "statvfs", "wait4"):
    vars(os).pop(name, None)
signal.SIGBREAK = signal.SIGQUIT
del signal.SIGHUP, signal.pthread_sigmask
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
sys.platform = "win32"
from audiotool.__main__ import main
main()
"""


def test_a_folder_is_denoised(tmp_path: Path) -> None:
    for name, rate in (("a.wav", 16000), ("b.flac", 48000)):
        write_speech(tmp_path / "in" / name, 1.0, rate)
    (tmp_path / "program.py").write_text(AS_ON_WINDOWS)
    words = ["program.py", "denoise", "in", "-o", "out", "--jobs", "1", "--report", "out/report.html"]
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.wav", "b.flac", "report.html"]
    assert np.abs(soundfile.read(tmp_path / "out" / "a.wav")[0]).max() > 0


def test_ctrl_break_ends_a_program_as_ctrl_c_does(tmp_path: Path) -> None:
    lines = [
        AS_ON_WINDOWS.replace("from audiotool.__main__ import main\nmain()\n", ""),
        "from audiotool.atomic import replacing",
        "from audiotool.signals import unwind_on_request",
        "from pathlib import Path",
        "unwind_on_request()",
        "with replacing(Path('a.wav')):",
        "    os.kill(os.getpid(), signal.SIGBREAK)",
    ]
    (tmp_path / "program.py").write_text("\n".join(lines))
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, timeout=240, check=False)
    assert done.returncode == 128 + signal.SIGQUIT
    assert [path.name for path in tmp_path.iterdir()] == ["program.py"]


def test_unfinished_files_older_than_a_day_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old = (tmp_path / f".a.wav.{letter * 32}.part" for letter in "ab")
    for path in (new, old):
        path.touch()
    os.utime(old, (time.time() - 90000,) * 2)
    monkeypatch.setattr(sys, "platform", "win32")
    remove_leftovers(str(tmp_path))
    assert list(tmp_path.iterdir()) == [new]


def test_long_names_and_paths_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "講演"
    folder = folder / ("d" * (234 - len(str(folder))))
    folder.mkdir(parents=True)
    monkeypatch.setattr(sys, "platform", "win32")
    path = folder / "recording1.wav"
    assert len(str(path)) == 250
    with replacing(path):
        [part] = folder.iterdir()
        assert len(str(part)) < 260
        assert PART.fullmatch(part.name)
    assert list(folder.iterdir()) == [path]
    assert obstacle(tmp_path / f"{'講' * 90}.wav") is None
    assert obstacle(tmp_path / f"{'講' * 252}.wav") == "its name is longer than 255 characters"
    error = FileNotFoundError(errno.ENOENT, "No such file or directory", str(folder / f"{'x' * 40}.wav"))
    assert cause(error).startswith("Windows takes paths of 259 characters")
    short = FileNotFoundError(errno.ENOENT, "No such file or directory", "a.wav")
    assert cause(short) == "its folder was removed while the file was written"


def test_no_more_workers_than_windows_waits_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert cores.affordable_workers(60) == 60
    assert not caplog.messages
    assert cores.affordable_workers(64) == 60
    assert caplog.messages == ["Windows has at most 60 worker processes: going on with as many"]


@pytest.mark.parametrize(("page", "found"), [("cp850", "cp850"), (None, "utf-8")])
def test_a_console_gets_its_own_code_page(
    monkeypatch: pytest.MonkeyPatch, page: str | None, found: str
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "device_encoding", lambda descriptor: page)
    with open(os.devnull, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "stdout", stdio.Closed("wb"))
        stdio.prepare()
        assert sys.stderr.encoding == found
