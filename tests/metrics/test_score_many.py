"""Many rows in worker processes: their order, a worker that dies, metrics of other packages."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from kit.limits import open_files_left
from kit.patience import PATIENCE, is_gone, wait_until
from kit.plugin import install_plugin
from kit.scores import FAST, noisy, write

from audiotool.metrics.pairing import FilePair, pair_files
from audiotool.metrics.score_files import score_stems
from audiotool.metrics.score_many import score_many


def test_processes_give_the_same_rows_in_order(clean: np.ndarray, tmp_path: Path) -> None:
    for n in range(3):
        write(tmp_path / "clean" / f"{n}.wav", clean)
        write(tmp_path / "out" / f"{n}.wav", noisy(clean, 0.02 * (n + 1)))
    pairs = pair_files(tmp_path / "clean", tmp_path / "out")
    finished: list[str] = []
    rows = score_many(pairs, FAST, jobs=2, progress=lambda row: finished.append(row.name))
    assert [r.name for r in rows] == ["0", "1", "2"]
    assert sorted(finished) == ["0", "1", "2"]
    alone = score_many(pairs, FAST)
    for row, other in zip(rows, alone, strict=True):
        for name in FAST:
            assert row.values[name].value == pytest.approx(other.values[name].value)


class Killer(type(Path())):  # type: ignore[misc]
    """A path that kills the worker process that reads it."""

    def __str__(self) -> str:
        if multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return str(super().__str__())

    __fspath__ = __str__

    def exists(self, *args: object, **kwargs: object) -> bool:
        str(self)
        return True


def test_a_worker_that_dies_takes_no_other_row_with_it(clean: np.ndarray, tmp_path: Path) -> None:
    good = write(tmp_path / "good.wav", clean)
    pairs = [FilePair(str(n), good, good) for n in range(3)]
    pairs[1] = FilePair("1", good, Killer(good))
    rows = score_many(pairs, ["si_sdr"], jobs=2)
    assert [r.values["si_sdr"].value is not None for r in rows] == [True, False, True]
    assert rows[1].values["si_sdr"].reason == "the process that scored this file died"
    assert [r.facts["status"] for r in rows] == ["done", "failed", "done"]
    assert rows[1].facts["estimate"] == str(good)


def test_a_worker_that_dies_costs_the_other_files_no_process_each(
    clean: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counted(ProcessPoolExecutor):
        sizes: ClassVar[list[int]] = []

        def __init__(self, size: int, *arguments: Any) -> None:
            self.sizes.append(size)
            super().__init__(size, *arguments)

    monkeypatch.setattr("audiotool.metrics.score_many.ProcessPoolExecutor", Counted)
    good = write(tmp_path / "good.wav", clean)
    pairs = [FilePair(str(n), good, good) for n in range(12)]
    pairs[0] = FilePair("0", good, Killer(good))
    finished: list[str] = []
    rows = score_many(pairs, ["si_sdr"], jobs=2, progress=lambda row: finished.append(row.name))
    assert [row.failed for row in rows] == [True] + [False] * 11
    assert sorted(finished, key=int) == [str(n) for n in range(12)], "each file is told of once"
    # The pool may notice the death only when its other worker has finished a file.
    assert Counted.sizes[0] == 2
    assert Counted.sizes.count(1) <= 2, "only what was in work is scored alone"


KILLED = """
import os, signal, sys
from pathlib import Path
from audiotool.metrics.pairing import FilePair
from audiotool.metrics.score_many import score_many

pairs = [FilePair(str(n), None, Path(sys.argv[1])) for n in range(3)]
score_many(pairs, ["loudness"], 2, lambda row: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_workers_end_where_their_parent_is_killed(clean: np.ndarray, tmp_path: Path) -> None:
    good = write(tmp_path / "good.wav", clean)
    process = subprocess.Popen([sys.executable, "-c", KILLED, good], start_new_session=True)
    try:
        assert process.wait(PATIENCE) == -signal.SIGKILL
        wait_until(lambda: is_gone(process.pid))
    finally:
        if not is_gone(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("left", [10, 20], ids=["here", "in fewer processes"])
def test_few_open_files_need_fewer_processes(clean: np.ndarray, tmp_path: Path, left: int) -> None:
    good = write(tmp_path / "good.wav", clean)
    score_many([FilePair("0", good, good)], ["si_sdr"])
    with open_files_left(left):
        rows = score_many([FilePair(str(n), good, good) for n in range(12)], ["si_sdr"], jobs=12)
    assert not any(row.failed for row in rows)


def test_a_plug_in_is_scored_in_workers_too(
    clean: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "from audiotool.metrics.base import NonIntrusiveMetric\n"
        "class Samples(NonIntrusiveMetric):\n"
        "    name = 'samples'\n"
        "    def rate(self, recording):\n"
        "        return float(sum(block.shape[1] for block in recording.read()))\n"
    )
    install_plugin(
        tmp_path, "counting", {"counting": text}, {"audiotool.metrics": {"samples": "counting:Samples"}}
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    for name in "ab":
        write(tmp_path / "out" / f"{name}.wav", clean)
    rows = score_many(pair_files(None, tmp_path / "out"), ["samples"], jobs=2)
    assert [row.values["samples"].value for row in rows] == [clean.shape[1]] * 2


BUGS = {
    "return {}['words']": "KeyError: 'words'",
    "assert False, 'no\\nwords'": "AssertionError: no words",
    "return None.words": "AttributeError: 'NoneType' object has no attribute 'words'",
    "import recogniser_that_is_not_there": "ModuleNotFoundError: No module named",
    "raise ValueError('no words')": "ValueError: no words",
    "raise SystemExit('no licence')": "SystemExit: no licence",
    "pass": "TypeError: float() argument must be",
}
"""Bodies of methods -> the reasons."""


@pytest.mark.parametrize(("bug", "reason"), BUGS.items())
def test_a_bug_of_a_plug_in_is_a_reason(
    clean: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: str, reason: str
) -> None:
    sys.modules.pop("buggy_scores", None)
    kinds = {"Metric": "measure", "NonIntrusiveMetric": "rate", "JointMetric": "rate"}
    text = "from audiotool.metrics.base import *\n"
    for kind, method in kinds.items():
        text += (
            f"class Bad{kind}({kind}):\n    name = 'bad_{kind}'\n    def {method}(self, _):\n        {bug}\n"
        )
    names = [f"bad_{kind}" for kind in kinds]
    points = {name: f"buggy_scores:Bad{kind}" for name, kind in zip(names, kinds, strict=True)}
    install_plugin(tmp_path, "buggy-scores", {"buggy_scores": text}, {"audiotool.metrics": points})
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in "12":
        write(tmp_path / "ref" / f"m.speaker{name}.wav", clean)
    pairs = pair_files(tmp_path / "ref", tmp_path / "ref")
    for row in score_stems(pairs, ["si_sdr", *names]):
        assert row.values["si_sdr"].value is not None
        assert not row.failed
        for name in names[: 2 if bug == "pass" else 3]:
            assert f"metric '{name}' of package buggy-scores 1.0 failed: {reason}" in row.reasons[name]
        assert row.values[names[2]].value is None
    sys.modules.pop("buggy_scores", None)
