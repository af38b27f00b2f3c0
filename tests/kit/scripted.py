"""A processor without a model: each input is a text file that says what its job does."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiotool.atomic import replacing
from audiotool.audio.target import Target
from audiotool.batch.job import Job
from audiotool.errors import AudiotoolError
from audiotool.files.processor import FileProcessor, FileResult, Process, Written
from audiotool.progress import Progress
from kit.patience import wait_until


@dataclass(frozen=True)
class Scripted(FileProcessor):
    """Does what its inputs say, and notes what it begins.

    The words of an input: "wait" until the file `go` is there; wait until another job has begun ("after 3");
    "die"; "tell" so much that it fills a pipe; "score" without an end.

    Args:
        folder: of `go` and of the notes.
        loads: whether it can be opened.
    """

    folder: Path
    loads: bool = True

    @property
    def go(self) -> Path:
        return self.folder / "go"

    @property
    def scoring(self) -> Path:
        """A file that is there when a job is being scored."""
        return self.folder / "scoring"

    def is_recording(self, source: str | Path) -> bool:
        if "score" in Path(source).read_text().split():
            self.scoring.touch()
            wait_until(self.go.exists)
        return False

    def begun(self) -> list[str]:
        """The names of the jobs that were begun, in their order."""
        notes = self.folder / "begun"
        return notes.read_text().split() if notes.exists() else []

    def jobs(self, *texts: str) -> list[Job]:
        """Jobs whose inputs have these texts, called 0, 1, 2, …"""
        found = []
        for n, text in enumerate(texts):
            source = self.folder / f"{n}.txt"
            source.write_text(text)
            found.append(Job(str(n), source, Target((str(self.folder / "out" / f"{n}.out"),))))
        return found

    def open(self, threads: int | None = None) -> Process:
        if not self.loads:
            raise AudiotoolError("there is no model")

        def process(inputs: Sequence[str | Path], target: Target, progress: Progress | None) -> FileResult:
            source = Path(inputs[0])
            with (self.folder / "begun").open("a") as notes:
                notes.write(f"{source.stem}\n")
            words = source.read_text().split()
            with replacing(target.paths[0]) as file:
                if "wait" in words:
                    wait_until(self.go.exists)
                if "after" in words:
                    wait_until(lambda: words[words.index("after") + 1] in self.begun())
                if "die" in words:
                    os.kill(os.getpid(), signal.SIGKILL)
                file.write(b"done")
            warnings = ("x" * (1 << 20),) if "tell" in words else ()
            return FileResult(16000, 1, 1.0, 0.1, (Written(0.0, 0),), warnings=warnings)

        return process

    def provenance(self) -> dict[str, Any]:
        return {}
