"""scripts/check_coverage.py: each package is held to its floor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import check_coverage
import pytest

from audiotool.errors import InputError


def test_check_coverage(run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def file(lines: int, branches: int) -> dict[str, Any]:
        summary = {"covered_lines": lines, "num_statements": 10}
        return {"summary": {**summary, "covered_branches": branches, "num_branches": 10}}

    files = {
        "audiotool/text.py": file(10, 10),
        "audiotool/dsp/a.py": file(9, 6),
        "audiotool/dsp/b.py": file(5, 0),
    }
    report = tmp_path / "coverage.json"
    report.write_text(json.dumps({"files": files}))
    floors = (
        ({"": 90, "dsp": 50}, 0),
        ({"": 90, "dsp": 51}, 1),
        ({"dsp": 50}, 1),
        ({"": 90, "dsp": 50, "x": 1}, 1),
    )
    for held_to, code in floors:
        monkeypatch.setattr(check_coverage, "FLOORS", held_to)
        with pytest.raises(SystemExit) as ended:
            run("check_coverage", report)
        assert ended.value.code == code
    assert check_coverage.by_package(report) == {"": 100.0, "dsp": 50.0}
    for text in ("no JSON", "[]", '{"files": {"audiotool/text.py": {}}}'):
        report.write_text(text)
        with pytest.raises(InputError, match=r"coverage\.json: not a report of coverage"):
            run("check_coverage", report)


def test_every_package_has_a_floor() -> None:
    folders = {path.parent.name for path in (Path(__file__).parents[2] / "audiotool").glob("*/__init__.py")}
    assert folders | {""} == check_coverage.FLOORS.keys()
