"""What came in and what went out, into two files."""

from __future__ import annotations

import contextlib
import queue
import threading
from pathlib import Path

from audiotool.audio.writer import FileWriter
from audiotool.errors import AudiotoolError, PlanError
from audiotool.live.backend import Samples

HELD = 1024
"""Blocks that may wait for the disk: 16 s of hops of 16 ms."""


class Recorder:
    """Two files, written by a thread of their own; they appear when they are complete.

    Args:
        source, target: places for the input and the output, as long as each other and aligned.
    Attributes:
        lost: blocks that the disk was too slow for.
    Raises:
        PlanError: one of them exists, or both are one.
        InputError: they cannot be written.
    """

    def __init__(self, source: Path, target: Path, sample_rate: int) -> None:
        check_places(source, target)
        self.lost = 0
        self._error: AudiotoolError | None = None
        self._blocks: queue.Queue[tuple[int, Samples] | None] = queue.Queue(HELD)
        with contextlib.ExitStack() as opened:
            self._writers = [
                opened.enter_context(contextlib.closing(FileWriter(path, sample_rate, 1)))
                for path in (source, target)
            ]
            self._opened = opened.pop_all()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def put(self, which: int, samples: Samples) -> None:
        """Hand on (time,) of the input (0) or the output (1); never waits."""
        try:
            self._blocks.put_nowait((which, samples))
        except queue.Full:
            self.lost += 1

    def check(self) -> None:
        """Raise what the disk has answered: InputError."""
        if self._error is not None:
            raise self._error

    def commit(self) -> None:
        """Write what still waits, and let both files appear; InputError as a writer's."""
        self._blocks.put(None)
        self._thread.join()
        try:
            self.check()
            for writer in self._writers:
                writer.prepare()
            for writer in self._writers:
                writer.commit()
        finally:
            self._opened.close()

    def _work(self) -> None:
        while (item := self._blocks.get()) is not None:
            if self._error is not None:
                continue
            which, samples = item
            try:
                self._writers[which].write(samples[:, None])
            except AudiotoolError as error:
                self._error = error


def check_places(*places: Path) -> None:
    """Refuse places for recordings that would replace something: PlanError."""
    for place in places:
        if place.exists():
            raise PlanError(f"{place} exists already: --record replaces nothing, give another name")
    if len({place.absolute() for place in places}) < len(places):
        raise PlanError(f"--record needs two files, got {places[0]} twice")
