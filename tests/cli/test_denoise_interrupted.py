"""`audiotool denoise` interrupted, killed, or on a full disk: what is left, and how it goes on."""

from __future__ import annotations

import json
import os
import pty
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
from kit.audio import write_endless, write_speech
from kit.patience import PATIENCE, is_gone, wait_until

COMMAND = [sys.executable, "-c", "from audiotool.cli.app import main; main()", "denoise"]


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


@pytest.fixture
def long_folder(tmp_path: Path) -> Path:
    """Two short recordings, and one that is never finished."""
    for name in ("a.wav", "b.wav"):
        write_speech(tmp_path / "in" / name, 0.5)
    write_endless(tmp_path / "in" / "z.wav")
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command, which writes its messages into the file `said`."""
    command = [*COMMAND, "in", "-o", "out", "--model", "denoise-tiny-16k", *arguments]
    with (folder / "said").open("w") as messages:
        return subprocess.Popen(
            command,
            cwd=folder,
            stderr=messages,
            text=True,
            start_new_session=True,
            env=environment(),
        )


def has_begun(folder: Path) -> bool:
    """Whether a part of the long output is written."""
    return any(path.stat().st_size > 1000 for path in (folder / "out").glob(".z.wav.*.part"))


def wait_until_inside(folder: Path, process: subprocess.Popen[str]) -> None:
    """Return when a and b are reported and z has begun."""

    def is_inside() -> bool:
        said = (folder / "said").read_text()
        assert process.poll() is None, said
        return has_begun(folder) and all(f"{name} -> out/{name}" in said for name in ("a.wav", "b.wav"))

    wait_until(is_inside)


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
    process = start(long_folder, "--jobs", jobs, "--report", "report.json")
    wait_until_inside(long_folder, process)
    os.killpg(process.pid, number)
    assert process.wait(PATIENCE) == code
    stderr = (long_folder / "said").read_text()
    assert (stderr.splitlines()[-1] == "audiotool: interrupted") == (number == signal.SIGINT)
    assert "Traceback" not in stderr
    [finished] = [line for line in stderr.splitlines() if "are finished" in line]
    rest = "of 3 files are finished; the same command with --skip-existing does the rest"
    assert finished == f"audiotool: 2 {rest}"
    assert sorted(os.listdir(long_folder / "out")) == ["a.wav", "b.wav"]
    assert soundfile.info(str(long_folder / "out" / "a.wav")).frames == 8000
    document = json.loads((long_folder / "report.json").read_text())
    assert [row["file"] for row in document["files"]] == ["a.wav", "b.wav"]
    assert (document["run"]["finished"], document["run"]["planned"]) == (2, 3)
    if number == signal.SIGTERM:
        write_speech(long_folder / "in" / "z.wav", 0.5)
        resumed = start(long_folder, "--skip-existing", "--report", "report.json")
        assert resumed.wait(PATIENCE) == 0
        run = json.loads((long_folder / "report.json").read_text())["run"]
        assert (run["finished"], run["planned"]) == (3, 3)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_terminal_that_is_closed(long_folder: Path, jobs: str) -> None:
    """Nothing can be written there any more, and the exit code is still that of the signal."""
    pid, terminal = pty.fork()
    if pid == 0:
        words = ["in", "-o", "out", "--model", "denoise-tiny-16k", "--jobs", jobs]
        os.chdir(long_folder)
        os.execve(COMMAND[0], [*COMMAND, *words, "--report", "report.json"], environment())

    def is_inside() -> bool:
        # What nobody reads fills the terminal, and the program waits.
        if select.select([terminal], [], [], 0.0)[0]:
            os.read(terminal, 1 << 16)
        return has_begun(long_folder)

    codes = []

    def has_ended() -> bool:
        ended, status = os.waitpid(pid, os.WNOHANG)
        codes.extend([os.waitstatus_to_exitcode(status)] if ended else [])
        return bool(codes)

    try:
        wait_until(is_inside)
        os.close(terminal)
        wait_until(has_ended)
    finally:
        if not codes:
            os.kill(pid, signal.SIGKILL)
    assert codes == [129]
    assert not list((long_folder / "out").glob(".*"))
    assert (long_folder / "report.json").is_file()


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_two_requests_in_a_row_leave_a_report_and_neither_processes_nor_parts(
    long_folder: Path, second: signal.Signals
) -> None:
    process = start(long_folder, "--jobs", "2", "--report", "report.json")
    wait_until_inside(long_folder, process)
    for number in (signal.SIGINT, second):
        os.killpg(process.pid, number)
        time.sleep(0.02)
    assert process.wait(PATIENCE) == 130
    assert "Traceback" not in (long_folder / "said").read_text()
    assert len(json.loads((long_folder / "report.json").read_text())["files"]) == 2
    assert sorted(os.listdir(long_folder / "out")) == ["a.wav", "b.wav"]
    # Processes that wait for the end of a pipe see it a moment later.
    wait_until(lambda: is_gone(process.pid))


def test_kill_in_the_middle_of_a_batch_and_resume(long_folder: Path) -> None:
    process = start(long_folder)
    wait_until_inside(long_folder, process)
    process.kill()
    process.wait(PATIENCE)
    left = sorted(os.listdir(long_folder / "out"))
    assert left[1:] == ["a.wav", "b.wav"]
    assert left[0].endswith(".part"), "no half file has a name that looks whole"
    kept = (long_folder / "out" / "a.wav").stat().st_mtime_ns
    write_speech(long_folder / "in" / "z.wav", 1.0)
    resumed = start(long_folder, "--skip-existing")
    code, stderr = resumed.wait(PATIENCE), (long_folder / "said").read_text()
    assert code == 0, stderr
    assert "a.wav: out/a.wav there already, skipped" in stderr
    assert sorted(os.listdir(long_folder / "out")) == ["a.wav", "b.wav", "z.wav"]
    assert (long_folder / "out" / "a.wav").stat().st_mtime_ns == kept
    assert soundfile.info(str(long_folder / "out" / "z.wav")).frames == 16000
