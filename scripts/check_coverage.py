"""Hold each package of audiotool to the lines and branches that the fast tests reach.

    make coverage          # which runs: python scripts/check_coverage.py build/coverage.json

Every package has a floor, a little below what was measured, so that a refactoring passes and a new module
without tests does not. Raise a floor when its package has risen. The low ones are of packages that slow tests
prove (networks, importers, graphs, servers, clusters). `make test` counts nothing: counting branches takes
tests of signals three quarters more time, and child processes are not counted anyhow.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

from plain_errors import run_script

from audiotool.errors import InputError

FLOORS: dict[str, float] = {
    "": 52,
    "audio": 90,
    "batch": 40,
    "cli": 50,
    "data": 52,
    "dsp": 90,
    "engines": 55,
    "exporting": 16,
    "files": 63,
    "importers": 30,
    "live": 22,
    "losses": 89,
    "metrics": 90,
    "models": 46,
    "plots": 38,
    "recipe": 68,
    "report": 36,
    "serve": 25,
    "streaming": 55,
    "tasks": 61,
    "training": 58,
}
"""Per cent of lines and branches, by package; "" is audiotool's own files."""


def by_package(report: Path) -> dict[str, float]:
    """Per cent of lines and branches together that were reached, by folder of audiotool; "" is its own files.

    Args:
        report: that coverage wrote as JSON, with branches.
    Raises:
        InputError: it is no such report.
    """
    reached: dict[str, int] = defaultdict(int)
    there: dict[str, int] = defaultdict(int)
    try:
        for name, file in json.loads(report.read_text(encoding="utf-8"))["files"].items():
            _, *folders, _ = Path(name).parts
            package, summary = folders[0] if folders else "", file["summary"]
            reached[package] += summary["covered_lines"] + summary["covered_branches"]
            there[package] += summary["num_statements"] + summary["num_branches"]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{report}: not a report of coverage in JSON, with branches: {error}") from error
    return {package: 100 * reached[package] / count for package, count in there.items() if count}


def main() -> None:
    """Print every package; exit 1 when one is below its floor, or has none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("report", type=Path, help="JSON of coverage, with branches")
    found = by_package(parser.parse_args().report)
    # A package that no test imports is missing from the report, a new one from the floors.
    low = {package for package in {*found, *FLOORS} if found.get(package, 0.0) < FLOORS.get(package, 101)}
    for package in sorted({*found, *FLOORS}):
        floor = f"at least {FLOORS[package]:g} %" if package in FLOORS else "has no floor in FLOORS"
        too_low = "  too low" if package in low and package in FLOORS else ""
        print(f"{package or 'audiotool':<12}{found.get(package, 0.0):6.1f} %  {floor}{too_low}")
    sys.exit(1 if low else 0)


if __name__ == "__main__":
    run_script(main)
