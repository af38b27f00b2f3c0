"""Curves, sounds and spectrograms of a run for TensorBoard."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiotool.audio.mono import weigh
from audiotool.dsp.stft import stft
from audiotool.writable import cause

log = logging.getLogger(__name__)


class TensorBoard:
    """The files of TensorBoard. Where they cannot be written, a line says so, and none are written any more.

    Args:
        folder: folder of the files.
        step: the run begins here; records of later steps are removed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = None
        self._excepthook, threading.excepthook = threading.excepthook, self._unhandled
        with self._writing():
            self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def scalars(self, group: str, step: int, values: dict[str, float]) -> None:
        """Add a point to the curves of a group; NaN is left out."""
        if self._writer is None:
            return
        with self._writing():
            for name, value in values.items():
                if not math.isnan(value):
                    self._writer.add_scalar(f"{group}/{name}", value, step)

    def listen(self, step: int, name: str, waveform: Tensor, sample_rate: int) -> None:
        """Add the mono mix of a waveform (C, T) as a sound, and its spectrogram."""
        if self._writer is None:
            return
        samples = waveform.detach().float().cpu().numpy()
        mono = torch.from_numpy(weigh(samples)[0] @ samples)
        with self._writing():
            self._writer.add_audio(name, mono.clamp(-1, 1)[None], step, sample_rate)
            self._writer.add_image(f"{name}/spectrogram", spectrogram_image(mono), step)

    def close(self) -> None:
        """Write what waits to be written."""
        if self._writer is not None:
            with self._writing():
                self._writer.close()
        # One that somebody has set since stays.
        if threading.excepthook == self._unhandled:
            threading.excepthook = self._excepthook

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Log an error of the disk in the `with` block, and write no more."""
        try:
            yield
        except OSError as error:
            self._writer = None
            log.warning("no more is written for TensorBoard: %s", cause(error))

    def _unhandled(self, unhandled: threading.ExceptHookArgs) -> None:
        """Print no traceback of the writer's thread: the next call of the writer raises its error."""
        of_writer = type(unhandled.thread).__module__.startswith("tensorboard.")
        if not (of_writer and isinstance(unhandled.exc_value, OSError)):
            self._excepthook(unhandled)


def spectrogram_image(waveform: Tensor) -> Tensor:
    """Return a grey picture (1, F, frames) in 0..1 of a waveform (T,); 80 dB below its loudest bin is
    black."""
    magnitude = stft(waveform, 1024, 256).abs()
    decibels = 20 * (magnitude / magnitude.max().clamp(min=1e-9)).clamp(min=1e-4).log10()
    return (decibels / 80 + 1).flip(0)[None]
