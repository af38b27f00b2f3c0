"""Record the input and the output of a live stream to two files."""

from __future__ import annotations

import contextlib
import queue
import threading
from pathlib import Path

import numpy as np

from audiotool.audio import PIPE
from audiotool.audio.outputs import open_writer
from audiotool.audio.writer import OutputFormat, Writer
from audiotool.errors import AudiotoolError, PlanError
from audiotool.live.backend import Samples
from audiotool.paths import clash

QUEUE_BLOCKS = 1024
"""Greatest number of blocks that wait for the disk: 16 s of hops of 16 ms."""


class Recorder:
    """Two files, written by a thread of their own. They appear under their names when they are complete.

    Args:
        source, target: paths of the recordings of input and output. Both are aligned and equally long.
        sample_rate: Hz.
    Attributes:
        begun: whether samples have come.
        lost: number of blocks that are silence because the disk was too slow.
    Raises:
        PlanError: one of the paths exists, or both are the same.
        InputError: a file cannot be written.
    """

    def __init__(self, source: Path, target: Path, sample_rate: int) -> None:
        check_places(source, target)
        self.begun = False
        self.lost = 0
        self._error: AudiotoolError | None = None
        self._blocks: queue.Queue[tuple[int, int, Samples] | None] = queue.Queue(QUEUE_BLOCKS)
        # Per file the samples of lost blocks for which silence is still to be written.
        self._missing = [0, 0]
        with contextlib.ExitStack() as opened:
            self._writers = [
                opened.enter_context(contextlib.closing(open_writer(path, OutputFormat(sample_rate, 1))))
                for path in (source, target)
            ]
            self._opened = opened.pop_all()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def put(self, which: int, samples: Samples) -> None:
        """Queue samples for writing, without waiting.

        Args:
            which: 0 is the input, 1 the output.
            samples: (time,).
        """
        self.begun = True
        try:
            self._blocks.put_nowait((which, self._missing[which], samples))
            self._missing[which] = 0
        except queue.Full:
            self.lost += 1
            self._missing[which] += len(samples)

    def check(self) -> None:
        """Raise the error of the writing thread, if it had one.

        Raises:
            InputError: a file could not be written.
        """
        if self._error is not None:
            raise self._error

    def commit(self) -> None:
        """Write all queued blocks and give both files their names; without samples nothing is left behind.

        Raises:
            InputError: a file could not be written.
        """
        self._blocks.put(None)
        self._thread.join()
        try:
            self.check()
            if not self.begun:
                return
            for writer, missing in zip(self._writers, self._missing, strict=True):
                _write_silence(writer, missing)
                writer.prepare()
            for writer in self._writers:
                writer.commit()
        finally:
            self._opened.close()

    def _work(self) -> None:
        while (item := self._blocks.get()) is not None:
            if self._error is not None:
                continue
            which, missing, samples = item
            try:
                _write_silence(self._writers[which], missing)
                self._writers[which].write(samples[:, None])
            except AudiotoolError as error:
                self._error = error


def _write_silence(writer: Writer, samples: int) -> None:
    writer.write(np.zeros((samples, 1), np.float32))


def check_places(*places: Path) -> None:
    """Check that recordings are files of their own, and replace none.

    Raises:
        PlanError: a path exists, is standard output, or leads to the file of another one.
    """
    for place in places:
        if str(place) == PIPE:
            raise PlanError("--record needs two files, and '-' is standard output: give two names")
        if place.exists():
            raise PlanError(f"{place} exists already: --record replaces nothing, give another name")
    same = clash(places)
    if same is not None:
        raise PlanError(f"--record needs two files, and these are one: {same[0]} and {same[1]}")
