"""Recordings in the bodies of requests: decoded, processed and encoded in memory, one after the other."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from audiotool.arrays import Block
from audiotool.audio.levels import limited_words
from audiotool.audio.pipe_writer import PipeWriter
from audiotool.audio.reader import AudioReader
from audiotool.audio.writer import Writer
from audiotool.errors import InputError
from audiotool.files.waveforms import format_like, remarks_on_outputs
from audiotool.pipeline import Pipeline
from audiotool.serve.requests import MOST_CHANNELS, check_rate
from audiotool.streaming.session import Settings

PLACES = 4
"""Greatest number of recordings in memory. One is processed, the others arrive or wait."""

MOST_SAMPLES = 1 << 26
"""Greatest number of samples of a recording, all channels together, at its own rate and at the model's: the
first is memory, the second is work. A small file can hold a long silence of many channels and a low rate."""

BLOCK_FRAMES = 1 << 16
"""Number of samples a channel that are decoded at a time."""


class Processed(NamedTuple):
    """A processed recording.

    Args:
        wav: the WAV file.
        sample_rate, channels, frames: of the recording that came; `frames` is samples of each channel.
        warnings: remarks for the client on the recording that came, and on what the WAV has not of it.
    """

    wav: bytes
    sample_rate: int
    channels: int
    frames: int
    warnings: tuple[str, ...] = ()


class Files:
    """Process whole recordings beside the streams, in a thread of their own.

    Args:
        pipeline: the server's.
        longest_seconds: greatest length of a recording in seconds.
    Attributes:
        places: held by a recording from its arrival until its answer has been sent.
    """

    def __init__(self, pipeline: Pipeline, longest_seconds: float) -> None:
        self._pipeline = pipeline
        self._longest = longest_seconds
        self.places = asyncio.Semaphore(PLACES)
        self._thread = ThreadPoolExecutor(1, "audiotool-files")

    def close(self) -> None:
        """Wait until the present recording is processed, or its processing has ended early."""
        self._thread.shutdown()

    async def process(self, body: bytes, settings: Settings) -> Processed:
        """Process a recording. If this is cancelled, its processing ends at the next block.

        Args:
            body: a file of any format that audiotool reads.
            settings: of this recording.
        Returns:
            It, as a WAV file of the recording's sample rate (but see `Settings.widens`), channels and length.
        Raises:
            InputError: the body is no recording, is damaged or too long, or has too many channels or a rate
                that streams do not have either (`check_rate`).
        """
        loop, unwanted = asyncio.get_running_loop(), threading.Event()
        try:
            return await loop.run_in_executor(self._thread, self._process, body, settings, unwanted)
        finally:
            unwanted.set()

    def _process(self, body: bytes, settings: Settings, unwanted: threading.Event) -> Processed:
        def go_on() -> None:
            if unwanted.is_set():
                raise CancelledError

        with AudioReader("-", io.BytesIO(body), name="the recording") as reader:
            info, blocks, frames = reader.info, [], 0
            if info.channels > MOST_CHANNELS:
                raise InputError(f"a recording has at most {MOST_CHANNELS} channels here")
            chosen = self._pipeline.at(info.sample_rate)
            check_rate(info.sample_rate, chosen.sample_rate)
            counted = info.channels * max(1.0, chosen.sample_rate / info.sample_rate)
            for block in reader.blocks(BLOCK_FRAMES):
                go_on()
                frames += len(block)
                if frames > self._longest * info.sample_rate:
                    raise InputError(f"a recording lasts at most {self._longest:g} s here")
                if frames * counted > MOST_SAMPLES:
                    raise InputError(
                        f"a recording has at most {MOST_SAMPLES} samples here, all channels together, at its"
                        f" own rate and at the model's {chosen.sample_rate} Hz"
                    )
                blocks.append(block.T)
            one = Pipeline(chosen.engine, chosen.task, chosen.metadata, settings, **chosen.conditions)
            samples = np.concatenate(blocks, axis=1)

            def pieces(size: int) -> Iterator[Block]:
                for n in range(0, frames, size):
                    go_on()
                    yield samples[:, n : n + size]

            opened = one.open(info.sample_rate, info.channels, pieces)
            session, memory = opened.session, io.BytesIO()
            rate = session.output_rate
            wanted = format_like(reader, rate, session.output_channels)
            wanted = wanted._replace(frames=-(-frames * rate // info.sample_rate))
            with PipeWriter(wanted, stdout=memory) as writer:
                writer.name = "the answer"
                for piece in pieces(opened.size):
                    writer.write(session.feed(piece).stems[0].T)
                writer.write(session.flush().stems[0].T)
        about_output = (*remarks_on_outputs([writer], info, rate), *_limited(writer))
        warnings = (*reader.warnings, *opened.remarks, *about_output)
        return Processed(memory.getvalue(), info.sample_rate, info.channels, frames, warnings)


def _limited(writer: Writer) -> Iterator[str]:
    """Yield how many samples have been limited, if any."""
    if writer.limited:
        yield (
            f"{limited_words(writer.limited, writer.peak)}: those of a recording in floating point are kept"
        )
