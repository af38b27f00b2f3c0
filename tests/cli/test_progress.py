"""What a user sees: bars on a terminal, plain lines elsewhere, errors always."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from kit.audio import write_speech

from audiotool.audio.writer import Target
from audiotool.batch.job import Job
from audiotool.batch.plan import Plan
from audiotool.batch.work import Outcome, failed
from audiotool.cli.progress import make_watcher
from audiotool.metrics.rows import Row


class Terminal(io.StringIO):
    """Something that claims to be a terminal, or not."""

    def __init__(self, tty: bool) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


def show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tty: bool, quiet: bool = False) -> str:
    """Everything on stderr while two files are processed, the second in vain."""
    screen = Terminal(tty)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    good = Job("good.wav", write_speech(tmp_path / "good.wav", 2.0), Target(("out/good.wav",)))
    bad = Job("bad.wav", tmp_path / "bad.wav", Target(("out/bad.wav",)))
    with make_watcher("denoising", Plan([good, bad]), quiet) as watcher:
        watcher.started(good)
        watcher.advanced(good, 16000, 32000)
        if tty and not quiet:
            watcher.progress.refresh()  # type: ignore[attr-defined]
        row = Row("good.wav", facts={"real_time_factor": 31.0}, notes=["3 samples were limited"])
        watcher.finished(Outcome(good, "done", [row], seconds=2.0))
        watcher.started(bad)
        watcher.finished(failed(bad, "bad.wav holds\nno audio"))
    return screen.getvalue()


def test_plain_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = show(monkeypatch, tmp_path, tty=False).splitlines()
    assert lines[:3] == [
        "audiotool: [1/2] good.wav -> out/good.wav (2.0 s, 31.0x real time)",
        "audiotool: good.wav: 3 samples were limited",
        "audiotool: [2/2] bad.wav holds no audio",
    ]
    assert lines[3].startswith("audiotool: 2.0 s of audio in ")


def test_bars(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = show(monkeypatch, tmp_path, tty=True)
    assert "denoising good.wav" in text
    assert "1 s" in text
    assert "x real time" in text
    assert "2/2" in text
    assert "bad.wav holds no audio" in text
    assert "3 samples were limited" in text


@pytest.mark.parametrize("tty", [True, False])
def test_quiet_says_errors_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tty: bool) -> None:
    assert show(monkeypatch, tmp_path, tty, quiet=True) == "audiotool: bad.wav holds no audio\n"
