"""A recording of a data set, a row of a manifest."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One row of a manifest.

    Args:
        path: absolute.
        kind: speech, noise, music, rir or pair.
        group: speaker of speech, class of noise; splits and balancing use it.
        sample_rate: Hz as recorded; 0 when unknown.
        seconds: 0 when unknown.
        split: train, valid, test, or a name that the recipe maps to one of them.
        source, licence: for the list of sources.
        targets: absolute paths of a pair's clean files, one a stem.
        bandwidth_hz: highest frequency of the content; 0 when unknown.
        is_named: whether the speaker or class is known; the group is the folder's name otherwise.
    """

    path: Path
    kind: str
    group: str = ""
    sample_rate: int = 0
    seconds: float = 0.0
    split: str = "train"
    source: str = ""
    licence: str = "unknown"
    targets: tuple[Path, ...] = ()
    bandwidth_hz: float = 0.0
    is_named: bool = True

    @property
    def speakers(self) -> list[str]:
        """The known speakers of speech or a pair, whose group joins several by "+"."""
        if not self.is_named or self.kind not in ("speech", "pair"):
            return []
        return self.group.split("+") if self.kind == "pair" else [self.group]

    def has_rate(self, least: int) -> bool:
        """Whether it is recorded at `least` Hz or more; an unknown sample rate is taken for enough."""
        return not self.sample_rate or self.sample_rate >= least

    def matches(self, patterns: Iterable[str]) -> bool:
        """Whether a shell pattern matches the path, its end, the speaker or class, source or licence."""
        names = (str(self.path), self.group, self.source, self.licence)
        return any(
            fnmatch.fnmatch(name, p) or fnmatch.fnmatch(str(self.path), f"*/{p}")
            for p in patterns
            for name in names
        )
