"""Shards: equal shares of a batch, one for each machine of a scheduler."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audiotool.errors import PlanError

DIGITS = 4


@dataclass(frozen=True)
class Shard:
    """Share `index` of `count`, counted from 1.

    Every machine plans the whole batch and does its own share, without communication. All machines must see
    the same inputs under the same paths.
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

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def share(self, sizes: Sequence[int]) -> list[int]:
        """Return the indices of the jobs in this share, in the plan's order.

        The jobs are dealt out one by one from the largest input to the smallest, inputs of equal size in the
        plan's order. Shares differ by no more than one job, and in size by no more than the largest input.

        Args:
            sizes: sizes of the jobs' inputs in bytes, in the plan's order; 0 where one is not known.
        """
        order = sorted(range(len(sizes)), key=lambda n: -sizes[n])
        return sorted(order[self.index - 1 :: self.count])

    def report(self, path: Path) -> Path:
        """Return the path of this shard's report, in which "{shard}" and "{shards}" are replaced by the
        numbers.

        Where a path has no "{shard}", its name gets both: report.csv becomes report-0003-of-0064.csv.
        """
        index, count = f"{self.index:0{DIGITS}}", f"{self.count:0{DIGITS}}"
        if "{shard}" not in str(path):
            path = path.with_name(f"{path.stem}-{index}-of-{count}{path.suffix}")
        return Path(str(path).replace("{shard}", index).replace("{shards}", count))
