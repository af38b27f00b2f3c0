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
from audiotool.atomic import PART, remove_leftovers, replacing
from audiotool.audio import mel_file
from audiotool.data.entry import Entry
from audiotool.data.manifest import read_manifest, write_manifest
from audiotool.data.mixed_set import _relative
from audiotool.report.markup import relative_url
from audiotool.writable import cause, obstacle

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
        "signal.signal(signal.SIGBREAK, signal.SIG_DFL)  # a shell's background ignores it",
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


def test_a_mel_is_unpacked_to_a_file_that_is_closed_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked = []

    def mapped(path: Path) -> np.ndarray:
        open_files = [os.path.realpath(f"/dev/fd/{number}") for number in os.listdir("/dev/fd")]
        assert os.path.realpath(path) not in open_files
        unpacked.append(path)
        return numpy_map(path)

    numpy_map = mel_file._map
    monkeypatch.setattr(mel_file, "_map", mapped)
    mel = np.ones((20, 30), np.float32)
    np.savez(tmp_path / "a.npz", mel=mel)
    with mel_file.FeatureReader(tmp_path / "a.npz", (20,)) as reader:
        assert np.array_equal(np.concatenate(list(reader.blocks(7)), axis=1), mel)
    assert [path.parent.exists() for path in unpacked] == [False]


@pytest.fixture
def other_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that no relative path leads to."""

    def relative(path: str | Path, start: str | Path = os.curdir) -> str:
        if len({str(drive) in os.path.abspath(place) for place in (path, start)}) > 1:
            raise ValueError("path is on mount 'D:', start on mount 'C:'")
        return relpath(path, start)

    drive, relpath = tmp_path / "D", os.path.relpath
    monkeypatch.setattr(os.path, "relpath", relative)
    return drive


def test_a_manifest_names_files_of_another_drive(tmp_path: Path, other_drive: Path) -> None:
    entry = Entry(other_drive / "a.wav", "pair", "anna", targets=(other_drive / "b.wav",))
    write_manifest(tmp_path / "m.csv", [entry])
    [found] = read_manifest(tmp_path / "m.csv")
    assert (found.path, found.targets) == (entry.path, entry.targets)
    assert relative_url(other_drive / "a.wav", tmp_path) == (other_drive / "a.wav").as_uri()


def test_a_mixed_set_names_files_of_another_drive(tmp_path: Path, other_drive: Path) -> None:
    files = [str(other_drive / "a.wav"), str(tmp_path / "b.wav")]
    assert _relative(files, tmp_path / "set") == f"{other_drive / 'a.wav'}|../b.wav"


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
