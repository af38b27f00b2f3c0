"""The interface of file processors, and the facts of a processed file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from audiotool.progress import Progress

if TYPE_CHECKING:
    from audiotool.audio.target import Target

FILE_CHUNK_SECONDS = 10.0
"""Input of one model step in seconds for files, unless `chunk_seconds` is set."""

PIPE_CHUNK_SECONDS = 0.25
"""Input of one model step in seconds for pipes: shorter, because somebody may be listening."""


class Written(NamedTuple):
    """Facts about one output.

    Attributes:
        peak: greatest absolute sample before limiting.
        limited: number of samples that exceeded an integer format and were limited to full scale.
    """

    peak: float
    limited: int


class FileResult(NamedTuple):
    """Facts about one processed file.

    Attributes:
        sample_rate: of the input, in Hz.
        channels: number of channels of the input.
        seconds: length of the input.
        elapsed_s: wall time, in seconds.
        outputs: facts of the output of each stem, then of the residual if there is one.
        input_peak: greatest absolute sample of the input; None where the input is no recording.
        bandwidth_hz: highest frequency at which the input has content; None where it was not measured.
        warnings: remarks on the input and the outputs, a line each.
        made_by: provenance of this file where it differs from the processor's, else None.
    """

    sample_rate: int
    channels: int
    seconds: float
    elapsed_s: float
    outputs: tuple[Written, ...]
    input_peak: float | None = None
    bandwidth_hz: float | None = None
    warnings: tuple[str, ...] = ()
    made_by: Mapping[str, Any] | None = None

    @property
    def peak(self) -> float:
        """Greatest absolute sample of all outputs before limiting."""
        return max(output.peak for output in self.outputs)

    @property
    def limited(self) -> int:
        """Number of limited samples of all outputs."""
        return sum(output.limited for output in self.outputs)

    @property
    def real_time_factor(self) -> float:
        """Seconds of audio processed in a second."""
        return self.seconds / max(self.elapsed_s, 1e-9)


Process = Callable[[Sequence["str | Path"], "Target", "Progress | None"], FileResult]
"""Function of (an input and its companions, the outputs' target, progress) that writes the outputs."""


class FileProcessor(ABC):
    """Processes each input of a run.

    It is created in one process and opened in others, so it holds plain values and can be pickled.
    """

    @abstractmethod
    def open(self, threads: int | None = None) -> Process:
        """Load what is slow to load, once for all inputs.

        Args:
            threads: threads of one step; None is the engine's default.
        Raises:
            AudiotoolError: loading fails; nothing was written.
        """

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Return how outputs are made, for reports: {"model", "checkpoint_sha256", "licence", "settings"}.

        Raises:
            CheckpointError: there is no such checkpoint.
        """

    def uses_gpu(self) -> bool:
        """Whether `open` takes a GPU where there is one."""
        return False

    def is_recording(self, source: str | Path) -> bool:
        """Whether an input is a recording, so that its scores are reported beside those of its outputs."""
        return True

    def differences(self, target: Target) -> list[str]:
        """Return how outputs on this machine, which a batch skips, differ from what this processor would
        write, a line each; none where they do not say how they were made."""
        return []
