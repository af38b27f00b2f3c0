"""Record the input and the output of a live stream to two files."""

from __future__ import annotations

import contextlib
import queue
import threading
from pathlib import Path

import numpy as np

from audiotool.audio import PIPE
from audiotool.audio.formats import format_for
from audiotool.audio.outputs import open_writer
from audiotool.audio.writer import OutputFormat
from audiotool.errors import AudiotoolError, InputError, PlanError, as_plan_error
from audiotool.live.backend import Samples
from audiotool.paths import clash

QUEUE_BLOCKS = 1024
"""Greatest number of blocks that wait for the disk: 16 s of hops of 16 ms."""


class Recorder:
    """Two files, written by a thread of their own. They appear under their names when they are complete.

    Args:
        source, target: paths of the recordings of input and output. Both are aligned, and equally long unless
            the disk refuses a block of one, or the model fails.
        sample_rate: Hz.
    Attributes:
        kept: paths of the recordings that `commit` has left.
        lost: number of blocks that are silence because the disk was too slow.
    Raises:
        PlanError: as `check_places`, or a file cannot be written.
    """

    def __init__(self, source: Path, target: Path, sample_rate: int) -> None:
        check_places(source, target)
        self.kept: list[Path] = []
        self.lost = 0
        # Per file the error after which nothing more is written to it.
        self._errors: list[AudiotoolError | None] = [None, None]
        self._blocks: queue.Queue[tuple[int, int, Samples] | None] = queue.Queue(QUEUE_BLOCKS)
        # Per file the samples of lost blocks for which silence is still to be written.
        self._missing = [0, 0]
        with as_plan_error(), contextlib.ExitStack() as opened:
            self._writers = [
                opened.enter_context(contextlib.closing(open_writer(path, OutputFormat(sample_rate, 1))))
                for path in (source, target)
            ]
            self._opened = opened.pop_all()
        for writer in self._writers:
            writer.replaces = False
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def put(self, which: int, samples: Samples) -> None:
        """Queue samples for writing, without waiting.

        Args:
            which: 0 is the input, 1 the output.
            samples: (time,).
        """
        try:
            self._blocks.put_nowait((which, self._missing[which], samples))
            self._missing[which] = 0
        except queue.Full:
            self.lost += 1
            self._missing[which] += len(samples)

    def check(self) -> None:
        """Raise the error of a file, if there was one; after `commit` it says what is kept.

        Raises:
            InputError: a file could not be written.
        """
        error = self._errors[0] or self._errors[1]
        if error is not None and self.kept:
            raise InputError(f"{error}; what came before is in {' and '.join(map(str, self.kept))}")
        if error is not None:
            raise error

    def commit(self) -> None:
        """Write all queued blocks and give both files their names; without samples nothing is left behind.

        A file that the disk refused is kept up to its last whole block, if its format can be cut, and `check`
        raises the error. A file that has appeared under one of the names is kept, too: the recording gets a
        free name beside it.
        """
        self._blocks.put(None)
        self._thread.join()
        with self._opened:
            for which, writer in enumerate(self._writers):
                self._write(which, self._missing[which], np.zeros(0, np.float32))
                if not writer.frames:
                    continue
                try:
                    writer.commit()
                    self.kept.append(Path(writer.name))
                except AudiotoolError as error:
                    self._errors[which] = self._errors[which] or error

    def _work(self) -> None:
        while (item := self._blocks.get()) is not None:
            self._write(*item)

    def _write(self, which: int, missing: int, samples: Samples) -> None:
        """Write silence of so many samples, and samples, to a file that has had no error."""
        if self._errors[which] is not None:
            return
        try:
            for part in (np.zeros(missing, np.float32), samples):
                self._writers[which].write(part[:, None])
        except AudiotoolError as error:
            self._errors[which] = error


def check_places(*places: Path) -> None:
    """Check that recordings are files of their own, of formats that are written, and replace none.

    Raises:
        PlanError: a path exists, is standard output, names no format, or leads to the file of another one.
        DependencyError: PyAV is needed and too old.
    """
    for place in places:
        if str(place) == PIPE:
            raise PlanError("--record needs two files, and '-' is standard output: give two names")
        if place.exists():
            raise PlanError(f"{place} exists already: --record replaces nothing, give another name")
        with as_plan_error():
            format_for(place, hint="")
    same = clash(places)
    if same is not None:
        raise PlanError(f"--record needs two files, and these are one: {same[0]} and {same[1]}")
