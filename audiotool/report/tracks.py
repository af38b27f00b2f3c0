"""Find the recordings of a row of a report: input, outputs, residual and reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from audiotool.audio.formats import is_readable_name
from audiotool.audio.reader import AudioInfo, AudioReader, probe
from audiotool.errors import AudiotoolError
from audiotool.metrics.rows import Row

Role = Literal["input", "output", "removed", "reference"]

BLOCK_SECONDS = 10.0
"""Length of the blocks in which a recording is read, in seconds."""


@dataclass(frozen=True)
class Track:
    """One recording, or the difference of two of the same rate, channels and length.

    Args:
        role: role of the recording in the row.
        label: name on the page ("Input", a stem's name).
        path: the file.
        info: facts of the file's header.
        minus: file that is subtracted from it; None without.
    """

    role: Role
    label: str
    path: Path
    info: AudioInfo
    minus: Path | None = None

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks (channels, time) float32 up to the end of the shorter file.

        Raises:
            InputError: a file cannot be read.
        """
        size = round(BLOCK_SECONDS * self.info.sample_rate)
        with AudioReader(self.path) as reader:
            if self.minus is None:
                yield from (block.T for block in reader.blocks(size))
                return
            with AudioReader(self.minus) as other:
                for block, taken in zip(reader.blocks(size), other.blocks(size), strict=False):
                    length = min(len(block), len(taken))
                    yield (block[:length] - taken[:length]).T


def tracks_of(row: Row) -> list[Track]:
    """Return the recordings of a row that exist and can be read."""
    facts = row.facts
    source = track("input", "Input", facts.get("input", facts.get("noisy")))
    made = facts.get("output", facts.get("estimate"))
    paths = made if isinstance(made, list) else [made]
    outputs = [track("output", _stem(path, len(paths)), path) for path in paths]
    removed = track("removed", "Removed", facts.get("residual"))
    if removed is None and len(outputs) == 1 and _is_cleaner_input(facts):
        removed = _difference(source, outputs[0])
    reference = track("reference", "Reference", facts.get("reference"))
    return [found for found in (source, *outputs, removed, reference) if found is not None]


def track(role: Role, label: str, place: Any) -> Track | None:
    """Return the recording at a path; None where it does not exist or cannot be read."""
    if not isinstance(place, str) or not is_readable_name(Path(place)):
        return None
    path = Path(place)
    try:
        return Track(role, label, path, probe(path)) if path.is_file() else None
    except (AudiotoolError, OSError, ValueError):
        return None


def _stem(path: Any, count: int) -> str:
    """Return the name of an output: the stem of NAME.STEM.wav if there are several."""
    parts = Path(str(path)).name.split(".")
    return parts[-2] if count > 1 and len(parts) > 2 else "Output"


def _is_cleaner_input(facts: Mapping[str, Any]) -> bool:
    """Return whether the output is the input without what was removed.

    It is where the task can mix the two, and where the input is the noisy one. A vocoder's output has other
    phases: its difference from the input may be louder than the input, and nothing was removed.
    """
    settings = facts.get("settings")
    return "noisy" in facts or (isinstance(settings, Mapping) and "mix" in settings)


def _difference(source: Track | None, output: Track | None) -> Track | None:
    if source is None or output is None:
        return None
    first, second = source.info, output.info
    alike = (first.sample_rate, first.channels) == (second.sample_rate, second.channels)
    if not alike or (first.frames is not None and first.frames != second.frames):
        return None
    return Track("removed", "Removed", source.path, source.info, output.path)
