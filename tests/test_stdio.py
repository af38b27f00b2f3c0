"""Work is done and reported whatever the standard streams are: closed, full, of a narrow encoding."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kit.audio import write_speech
from kit.patience import PATIENCE
from kit.plugin import install_plugin

import audiotool
from audiotool.errors import InputError

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
AUDIOTOOL = f"{sys.executable} -m audiotool"


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, env=ENVIRONMENT | environment, capture_output=True, timeout=PATIENCE
    )


def python(program: str, folder: Path, redirection: str = "") -> subprocess.CompletedProcess[bytes]:
    """Run a program that begins with prepared streams."""
    script = folder / "program.py"
    script.write_text(f"from audiotool import stdio\nstdio.prepare()\n{program}")
    return shell(f"{sys.executable} {script} {redirection}", folder)


def test_a_file_never_takes_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    done = python("file = open('x', 'w')\nassert file.fileno() > 2, file.fileno()", tmp_path, "<&- >&- 2>&-")
    assert done.returncode == 0


def test_text_into_closed_or_full_streams_costs_nothing(tmp_path: Path) -> None:
    program = "import sys\nsys.stderr.write('x\\n')\nprint('x')\nopen('done', 'w')"
    for redirection in ("2>&- >&-", "2>/dev/full"):
        done = python(program, tmp_path, redirection)
        assert (done.returncode, (tmp_path / "done").exists()) == (0, True), done.stderr
        (tmp_path / "done").unlink()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("words", ["--help", "--version", "", "denoise --help", "models list"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_is_reported_in_one_line(words: str, unbuffered: str, tmp_path: Path) -> None:
    done = shell(f"{AUDIOTOOL} {words} > /dev/full", tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert done.stderr == b"audiotool: error: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize(("name", "redirection"), [("standard_input", "<&-"), ("standard_output", ">&-")])
def test_bytes_are_not_lost_in_a_closed_stream(name: str, redirection: str, tmp_path: Path) -> None:
    done = python(f"stdio.{name}()", tmp_path, redirection)
    assert b"InputError: standard " in done.stderr
    assert b" is closed: " in done.stderr


def test_streams_of_text_alone_take_and_give_no_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notebooks and `contextlib.redirect_stdout` replace Python's streams by such ones."""
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(sys, name, io.StringIO("x"))
    with pytest.raises(InputError, match=r"^standard input gives no bytes here: name a file$"):
        audiotool.read("-")
    with pytest.raises(InputError, match=r"^standard output takes no bytes here: name a file$"):
        audiotool.write("-", np.zeros(10), 16000)


def test_signs_that_an_encoding_does_not_hold(tmp_path: Path) -> None:
    program = "print('1 → 2 ↑ é 日本', __import__('os').fsdecode(b'\\xe9'))"
    (tmp_path / "program.py").write_text(f"from audiotool import stdio\nstdio.prepare()\n{program}")
    for encoding, expected in (
        ("ascii", rb"1 > 2 ^ \xe9 \u65e5\u672c \xe9"),
        ("cp1252", b"1 > 2 ^ \xe9 \\u65e5\\u672c \\xe9"),
        ("utf-8", "1 → 2 ↑ é 日本 \\xe9".encode()),
    ):
        done = shell(f"{sys.executable} program.py", tmp_path, PYTHONIOENCODING=encoding)
        assert done.stdout == expected + b"\n", done.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_json_is_utf_8_in_every_encoding(encoding: str, tmp_path: Path) -> None:
    write_speech(tmp_path / "in" / "ł\U0001f600é→.wav")
    line = f"{AUDIOTOOL} evaluate --reference in --estimate in --metrics si_sdr --json --progress json"
    done = shell(line, tmp_path, PYTHONIOENCODING=encoding)
    [row] = json.loads(done.stdout)["files"]
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert row["file"] == "ł\U0001f600é→"
    assert {Path(event["file"]).stem for event in events if "file" in event} == {row["file"]}
    assert ("é".encode() in done.stdout) == (encoding == "utf-8")


def test_messages_of_libraries_are_dropped_meanwhile(tmp_path: Path) -> None:
    program = """
import logging, os, sys
logging.basicConfig(handlers=[logging.StreamHandler(sys.stderr)], format="%(message)s")
with stdio.silent_libraries():
    with stdio.silent_libraries():
        os.write(2, b"a library\\n")
    os.write(2, b"a library\\n")
    print("a line", file=sys.stderr)
    logging.warning("of the log")
os.write(2, b"a library afterwards\\n")
print("the last", file=sys.stderr)
"""
    done = python(program, tmp_path)
    assert done.stderr.decode().splitlines() == ["a line", "of the log", "a library afterwards", "the last"]


def test_a_line_of_another_thread_comes_at_any_moment_of_a_silence(tmp_path: Path) -> None:
    program = """
import itertools, os, sys
numbers = itertools.count()
def speaking(action):
    def call(*arguments):
        print(next(numbers), file=sys.stderr)
        result = action(*arguments)
        print(next(numbers), file=sys.stderr)
        return result
    return call
for name in ("dup", "open", "dup2", "close"):
    setattr(os, name, speaking(getattr(os, name)))
with stdio.silent_libraries():
    pass
print(next(numbers), file=sys.stderr)
"""
    lines = python(program, tmp_path).stderr.split()
    assert len(lines) > 4
    assert lines == [b"%d" % n for n in range(len(lines))]


LOUD = """
import atexit, os
from audiotool.tasks.denoise import Denoise

print("imported")

class Loud(Denoise):
    name = "loud"

    def check(self):
        super().check()
        print("a print")
        os.write(1, b"a library\\n")
        os.system("echo a child process")
        atexit.register(print, "the end")

    def processor(self, checkpoint):
        return Denoise(self.options).processor("denoise-16k")
"""


@pytest.fixture
def loud(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run a command where a task of another package prints in every way."""
    install_plugin(tmp_path, "loud", {"loud": LOUD}, {"audiotool.tasks": {"loud": "loud:Loud"}})
    write_speech(tmp_path / "a.wav", seconds=0.1)
    path = os.pathsep.join((str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])))
    # Completion goes by the name of the program.
    named = "import sys; sys.argv[0] = 'audiotool'; from audiotool.__main__ import main; main()"
    program = f'{sys.executable} -c "{named}"'
    return lambda words, **variables: shell(f"{program} {words}", tmp_path, PYTHONPATH=path, **variables)


def test_standard_output_holds_data_alone_whatever_other_packages_print(
    loud: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    said = {b"imported", b"a print", b"a library", b"a child process", b"the end"}
    sound = loud("loud a.wav -o -")
    assert said <= set(sound.stderr.splitlines())
    with wave.open(io.BytesIO(sound.stdout)) as opened:
        assert (opened.getnframes(), len(sound.stdout)) == (1600, 44 + 2 * 1600)
    document = loud("loud a.wav -o b.wav --json")
    assert said <= set(document.stderr.splitlines())
    assert json.loads(document.stdout)["schema"] == 1


def test_help_and_completions_hold_no_word_of_other_packages(
    loud: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    asked = {"_AUDIOTOOL_COMPLETE": "complete_bash", "COMP_WORDS": "audiotool lo", "COMP_CWORD": "1"}
    completed, shown = loud("", **asked), loud("loud --help")
    assert completed.stdout == b"loud\n"
    assert b"--reference" in shown.stdout
    for done in (completed, shown):
        assert (b"imported" in done.stdout, b"imported" in done.stderr) == (False, True)


def test_the_decoder_of_mp3_is_not_heard(tmp_path: Path) -> None:
    program = """
import numpy as np
import audiotool
from audiotool.audio.reader import excerpt
random = np.random.default_rng(1)
noise = 0.1 * random.standard_normal(48000) * np.repeat(random.random(48) ** 4, 1000)
audiotool.write("a.mp3", noise, 16000)
assert excerpt("a.mp3", 30011, 4000).shape == (1, 4000)
data = bytearray(open("a.mp3", "rb").read())
for at in (1000, 3000, 7000):
    data[at : at + 40] = bytes(range(40))
open("a.mp3", "wb").write(data)
assert audiotool.read("a.mp3")[0].shape == (1, 48000)
"""
    done = python(program, tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
