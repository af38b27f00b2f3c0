"""An enrolment: a recording of the speaker whom a model is to keep."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from audiotool.audio.mono import to_mono
from audiotool.audio.reader import read
from audiotool.errors import InputError
from audiotool.streaming.resample import StreamingResampler

SHORTEST_SECONDS = 1.0


def read_enrolment(recording: str | os.PathLike[str], sample_rate: int) -> NDArray[np.float32]:
    """Read an enrolment; return (1, 1, time) at a model's sample rate in Hz.

    Raises:
        InputError: the recording cannot be read, is too short, or silent.
    """
    # A path of another package may show itself otherwise.
    recording = os.fspath(recording) if isinstance(recording, os.PathLike) else recording
    waveform, rate = read(recording)
    seconds = waveform.shape[1] / rate
    if seconds < SHORTEST_SECONDS:
        raise InputError(
            f"{recording} lasts {seconds:.2f} s: an enrolment needs {SHORTEST_SECONDS:g} s or more of the"
            " speaker"
        )
    if not waveform.any():
        raise InputError(f"{recording} is silent: an enrolment holds the speaker's voice")
    resampler = StreamingResampler(rate, sample_rate, 1)
    parts = (resampler.feed(to_mono(waveform, str(recording))[None]), resampler.flush())
    return np.concatenate(parts, axis=-1)[None]
