"""Shards: shares of a batch, one for each machine of a scheduler."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePath

from audiotool.batch.job import Job
from audiotool.errors import PlanError

DIGITS = 4


@dataclass(frozen=True)
class Shard:
    """Share `index` of `count`, counted from 1.

    Every machine plans the whole batch and does its own share, without communication. All machines must see
    the same inputs under the same paths. Shares of many inputs are alike; those of few are not.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse a shard written as "3/64".

        Raises:
            PlanError: the text is no shard.
        """
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip(), re.ASCII)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise PlanError(f"--shard is I/N, from 1/N to N/N, such as 3/64; not '{text}'")
        return cls(int(found[1]), int(found[2]))

    def holds(self, job: Job) -> bool:
        """Return whether a job is in this share.

        That depends on the input's path alone: not on its size, which may change between the plans of two
        machines, nor on other inputs, which may come or go. Otherwise an input could be in no share.
        """
        digest = hashlib.blake2b(os.fsencode(PurePath(job.source).as_posix()), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.index - 1

    def report(self, path: Path) -> Path:
        """Return the name of this shard's report, in which "{shard}" and "{shards}" are replaced by the
        numbers.

        A name without them gets both: report.csv becomes report-0003-of-0064.csv.
        """
        index, count = f"{self.index:0{DIGITS}}", f"{self.count:0{DIGITS}}"
        if "{shard}" in path.name:
            return path.with_name(path.name.replace("{shard}", index).replace("{shards}", count))
        return path.with_name(f"{path.stem}-{index}-of-{count}{path.suffix}")
