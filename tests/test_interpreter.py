"""Processes that commands start execute no Python file that lies in the working folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kit.audio import speech_like

import audiotool
from audiotool.interpreter import python
from audiotool.metrics.pesq import PesqWorker

COMMAND = "from audiotool.__main__ import main\nmain()"

MODULES = ("json", "numpy", "pesq", "pystoi", "random", "scipy", "secrets", "soundfile", "torch")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder whose modules leave a file where they are executed."""
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'a').write('{name} ')\n")
    return tmp_path


def executed(folder: Path) -> str:
    place = folder / "executed"
    return place.read_text() if place.exists() else ""


def run(folder: Path, *words: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    subprocess.run(python(COMMAND, *words), cwd=folder, env=environment, capture_output=True, check=True)


def test_the_folder_is_hostile(hostile: Path) -> None:
    subprocess.run([sys.executable, "-c", "import pesq"], cwd=hostile, check=True)
    assert executed(hostile) == "pesq "


def test_code_finds_modules_where_this_process_does(hostile: Path) -> None:
    words = python("import pesq\nprint(pesq.__file__, *sys.argv[1:])", "a b", "c")
    done = subprocess.run(words, cwd=hostile, capture_output=True, text=True, check=True)
    import pesq

    assert done.stdout == f"{pesq.__file__} a b c\n"


def test_pesq(hostile: Path) -> None:
    worker, silence = PesqWorker(), np.zeros(8000)
    worker.folder = hostile
    assert worker.score(silence, silence, 8000) is None
    worker.close()
    assert executed(hostile) == ""


def test_doctor(hostile: Path) -> None:
    from audiotool.doctor import import_errors

    before = Path.cwd()
    os.chdir(hostile)
    try:
        assert import_errors(["json", "numpy", "soundfile"]) == {}
    finally:
        os.chdir(before)
    assert executed(hostile) == ""


@pytest.mark.skipif(sys.version_info < (3, 11), reason="multiprocessing has no option against it")
def test_workers_of_a_batch(hostile: Path) -> None:
    for name in ("a", "b"):
        audiotool.write(hostile / "in" / f"{name}.wav", speech_like(0.3, 16000), 16000)
    run(hostile, "denoise", "in", "-o", "out", "--jobs", "2", "-q")
    assert executed(hostile) == ""
    assert sorted(path.name for path in (hostile / "out").iterdir()) == ["a.wav", "b.wav"]
