"""What makes outputs of an input, and what is told of a file that was processed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiotool.progress import Progress

if TYPE_CHECKING:
    from audiotool.audio.writer import Target

FILE_CHUNK_SECONDS = 10.0
"""Seconds of a file that one model step takes, unless `chunk_seconds` is set."""

PIPE_CHUNK_SECONDS = 0.25
"""Seconds of a pipe that one model step takes: somebody may be listening, and short steps lag less."""


@dataclass(frozen=True)
class Written:
    """Facts about one output.

    Args:
        peak: greatest absolute sample.
        limited: samples that an integer format could not hold and that were limited to full scale.
    """

    peak: float
    limited: int


@dataclass(frozen=True)
class FileResult:
    """Facts about one processed file.

    Args:
        sample_rate, channels, seconds: of the input.
        elapsed_s: wall time.
        outputs: one a stem, then the residual's if there is one.
        input_peak: greatest absolute sample of the input, None of an input that has none.
        bandwidth_hz: where the input's content ends, None where that was not measured.
        made_by: what of the processor's provenance is this file's own.
    """

    sample_rate: int
    channels: int
    seconds: float
    elapsed_s: float
    outputs: tuple[Written, ...]
    input_peak: float | None = None
    bandwidth_hz: float | None = None
    warnings: tuple[str, ...] = field(default=())
    made_by: Mapping[str, Any] = field(default_factory=dict)

    @property
    def peak(self) -> float:
        """Greatest absolute sample of all outputs."""
        return max(output.peak for output in self.outputs)

    @property
    def limited(self) -> int:
        """Limited samples of all outputs together."""
        return sum(output.limited for output in self.outputs)

    @property
    def real_time_factor(self) -> float:
        """Seconds of audio processed in a second."""
        return self.seconds / max(self.elapsed_s, 1e-9)


Process = Callable[[Sequence["str | Path"], "Target", "Progress | None"], FileResult]
"""Makes the outputs of (an input and its companions, where outputs go, whom to tell)."""


class FileProcessor(ABC):
    """What is done to each input of a run.

    It is described in one process and opened in others, so it holds plain values and can be pickled.
    """

    @abstractmethod
    def open(self, threads: int | None = None) -> Process:
        """Load what is slow to load, once for all inputs.

        Args:
            threads: of one step; None leaves the engine's own choice.
        Raises:
            AudiotoolError: it cannot be loaded; nothing was written.
        """

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """What a report says of how outputs were made: {"model", "checkpoint_sha256", "licence", "settings"}.

        Raises:
            CheckpointError: there is no such checkpoint.
        """

    @property
    def device(self) -> str:
        """Where the model runs, as `audiotool.load`; "cpu" where there is no model."""
        return "cpu"

    def is_recording(self, source: str | Path) -> bool:
        """Whether an input is a recording: its outputs are then scored beside it."""
        return True
