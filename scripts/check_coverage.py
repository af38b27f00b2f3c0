"""Hold each package of audiotool to the lines and branches that the fast tests reach.

    make coverage          # which runs: python scripts/check_coverage.py build/coverage.json

The floors are a little below what was measured, so that a refactoring passes and a new module without tests
does not. Raise a floor when its package has risen. Packages that slow tests alone reach have none: counting
branches takes tests of signals three quarters more time, too much for the whole suite. Code in child
processes is not counted.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

FLOORS: dict[str, float] = {
    "audio": 90,
    "cli": 50,
    "dsp": 88,
    "engines": 55,
    "files": 60,
    "losses": 88,
    "metrics": 85,
    "recipe": 65,
    "streaming": 55,
    "tasks": 60,
    "training": 55,
}
"""Per cent of lines and branches, by package."""


def by_package(report: Path) -> dict[str, float]:
    """Per cent of lines and branches together that were reached, by folder of audiotool; "" is its own files.

    Args:
        report: that coverage wrote as JSON, with branches.
    """
    reached: dict[str, int] = defaultdict(int)
    there: dict[str, int] = defaultdict(int)
    for name, file in json.loads(report.read_text(encoding="utf-8"))["files"].items():
        _, *folders, _ = Path(name).parts
        package, summary = folders[0] if folders else "", file["summary"]
        reached[package] += summary["covered_lines"] + summary["covered_branches"]
        there[package] += summary["num_statements"] + summary["num_branches"]
    return {package: 100 * reached[package] / count for package, count in there.items() if count}


def main() -> None:
    """Print every package; exit 1 when one is below its floor."""
    found = by_package(Path(sys.argv[1]))
    low = [package for package, floor in FLOORS.items() if found.get(package, 0.0) < floor]
    for package, percent in sorted(found.items()):
        floor = f"at least {FLOORS[package]:g} %" if package in FLOORS else ""
        print(f"{package or 'audiotool':<12}{percent:6.1f} %  {floor}{'  too low' if package in low else ''}")
    sys.exit(1 if low else 0)


if __name__ == "__main__":
    main()
