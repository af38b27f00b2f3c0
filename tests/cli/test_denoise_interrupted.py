"""`audiotool denoise` interrupted, killed, or on a full disk: what is left, and how it goes on."""

from __future__ import annotations

import json
import os
import pty
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import write_speech
from kit.checkpoints import save_tiny

import audiotool

COMMAND = [sys.executable, "-c", "from audiotool.cli.app import main; main()", "denoise"]
PATIENCE = 240.0
"""Seconds to wait for a child process on a busy machine before a test fails."""


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_disk_full(tiny_checkpoint: Path, tmp_path: Path) -> None:
    write_speech(tmp_path / "in.wav", 10)
    before = write_speech(tmp_path / "out" / "out.wav", 0.1).read_bytes()

    def small_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = [*COMMAND, "in.wav", "-o", "out/out.wav", "--overwrite", "--checkpoint", str(tiny_checkpoint)]
    done = subprocess.run(
        command, cwd=tmp_path, preexec_fn=small_disk, capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 1, done.stderr
    assert "cannot write out/out.wav" in done.stderr
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "out" / "out.wav").read_bytes() == before
    assert os.listdir(tmp_path / "out") == ["out.wav"]


@pytest.fixture(scope="module")
def long_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short recordings, and one that takes long enough to be interrupted in."""
    folder = tmp_path_factory.mktemp("long")
    save_tiny(folder / "tiny.safetensors")
    for name in ("a.wav", "b.wav"):
        write_speech(folder / "in" / name, 0.5)
    rng = np.random.default_rng(0)
    audiotool.write(folder / "in" / "z.wav", rng.uniform(-0.1, 0.1, 16000 * 600), 16000)
    return folder


SLOWLY = ("--chunk", "0.05")
"""Thousands of small steps: a signal finds the long file unfinished on any machine."""


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [*COMMAND, "in", "-o", "out", "--checkpoint", "tiny.safetensors", "--device", "cpu", *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment(),
        # A test run in the background ignores SIGINT, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_until_inside(folder: Path, process: subprocess.Popen[str]) -> None:
    """Return when a and b are done and z has begun."""
    give_up = time.monotonic() + PATIENCE
    out = folder / "out"
    while time.monotonic() < give_up:
        assert process.poll() is None, process.communicate()[1]
        unfinished = [p for p in out.glob(".z.wav.*.part") if p.stat().st_size > 1000]
        if unfinished and (out / "a.wav").exists() and (out / "b.wav").exists():
            return
        time.sleep(0.02)
    pytest.fail("the batch did not get anywhere")


@pytest.mark.parametrize(
    ("jobs", "number", "code"),
    [
        ("1", signal.SIGINT, 130),
        ("2", signal.SIGINT, 130),
        ("1", signal.SIGTERM, 143),
        ("1", signal.SIGHUP, 129),
        ("2", signal.SIGHUP, 129),
    ],
)
def test_interrupt_in_the_middle_of_a_batch(
    long_folder: Path, jobs: str, number: signal.Signals, code: int
) -> None:
    shutil.rmtree(long_folder / "out", ignore_errors=True)
    process = start(long_folder, "--jobs", jobs, "--report", "report.json", *SLOWLY)
    wait_until_inside(long_folder, process)
    os.killpg(process.pid, number)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert (stderr.splitlines()[-1] == "audiotool: interrupted") == (number == signal.SIGINT)
    assert "Traceback" not in stderr
    assert sorted(os.listdir(long_folder / "out")) == ["a.wav", "b.wav"]
    assert soundfile.info(str(long_folder / "out" / "a.wav")).frames == 8000
    rows = json.loads((long_folder / "report.json").read_text())["files"]
    reported = {row["file"] for row in rows}
    # Of two workers one may have written its file and not yet told of it.
    assert reported == {"a.wav", "b.wav"} or (jobs == "2" and len(reported) == 1)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_terminal_that_is_closed(long_folder: Path, jobs: str) -> None:
    """Nothing can be written there any more, and the exit code is still that of the signal."""
    shutil.rmtree(long_folder / "out", ignore_errors=True)
    pid, terminal = pty.fork()
    if pid == 0:
        words = ["in", "-o", "out", "--checkpoint", "tiny.safetensors", "--device", "cpu", "--jobs", jobs]
        os.chdir(long_folder)
        os.execve(COMMAND[0], [*COMMAND, *words, "--report", "report.json", *SLOWLY], environment())
    give_up = time.monotonic() + PATIENCE
    while not [p for p in (long_folder / "out").glob(".z.wav.*.part") if p.stat().st_size > 1000]:
        assert time.monotonic() < give_up, "the batch did not get anywhere"
        # What nobody reads fills the terminal, and the program waits.
        if select.select([terminal], [], [], 0.02)[0]:
            os.read(terminal, 1 << 16)
    os.close(terminal)
    while time.monotonic() < give_up:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        time.sleep(0.05)
    else:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        pytest.fail("it does not end")
    assert os.waitstatus_to_exitcode(status) == 129
    assert not list((long_folder / "out").glob(".*"))
    assert (long_folder / "report.json").is_file()


def test_two_interrupts_in_a_row_leave_neither_processes_nor_parts(long_folder: Path) -> None:
    shutil.rmtree(long_folder / "out", ignore_errors=True)
    process = start(long_folder, "--jobs", "2", *SLOWLY)
    wait_until_inside(long_folder, process)
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.02)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert sorted(os.listdir(long_folder / "out")) == ["a.wav", "b.wav"]
    wait_until_gone(process.pid)


def wait_until_gone(group: int) -> None:
    """Return when a group has no processes: those that wait for the end of a pipe see it a moment later."""
    give_up = time.monotonic() + 5
    while time.monotonic() < give_up:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("processes are left")


def test_kill_in_the_middle_of_a_batch_and_resume(long_folder: Path) -> None:
    shutil.rmtree(long_folder / "out", ignore_errors=True)
    process = start(long_folder, *SLOWLY)
    wait_until_inside(long_folder, process)
    process.kill()
    process.communicate(timeout=PATIENCE)
    left = sorted(os.listdir(long_folder / "out"))
    assert left[1:] == ["a.wav", "b.wav"]
    assert left[0].endswith(".part"), "no half file has a name that looks whole"
    kept = (long_folder / "out" / "a.wav").stat().st_mtime_ns
    resumed = start(long_folder, "--skip-existing")
    _, stderr = resumed.communicate(timeout=PATIENCE)
    assert resumed.returncode == 0, stderr
    assert "a.wav: out/a.wav there already, skipped" in stderr
    assert sorted(os.listdir(long_folder / "out")) == ["a.wav", "b.wav", "z.wav"]
    assert (long_folder / "out" / "a.wav").stat().st_mtime_ns == kept
    assert soundfile.info(str(long_folder / "out" / "z.wav")).frames == 16000 * 600
