"""scripts/fuzz.py: cases of each kind pass, and a fault is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz
import numpy as np
import pytest
from kit.patience import PATIENCE

from audiotool.errors import InputError

CASES = {
    "audio": 8,
    "checkpoints": 15,
    "imports": 15,
    "recipes": 15,
    "mels": 60,
    "manifests": 60,
    "rooms": 30,
}


@pytest.mark.parametrize("kind", CASES)
def test_damaged_files_are_answered(tmp_path: Path, kind: str) -> None:
    refusals = 0
    for number in range(CASES[kind]):
        folder = tmp_path / str(number)
        folder.mkdir()
        fault, refused = fuzz.run_case(kind, 1, number, folder)
        assert fault is None, f"case {number}"
        refusals += refused
    assert refusals


def test_every_kind_is_tried() -> None:
    assert set(CASES) == set(fuzz.KINDS)


@pytest.mark.parametrize(
    ("error", "leave", "message"),
    [
        (KeyError("a"), False, "KeyError"),
        (MemoryError(), False, "MemoryError"),
        (InputError("a\nb"), False, "several lines"),
        (InputError("a"), True, r"left behind: part"),
    ],
)
def test_faults_are_reported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    leave: bool,
    message: str,
) -> None:
    def case(rng: np.random.Generator, folder: Path) -> Callable[[], Any]:
        def use() -> None:
            if leave:
                (folder / "part").touch()
            raise error

        return use

    monkeypatch.setitem(fuzz.KINDS, "mels", case)
    fault, refused = fuzz.run_case("mels", 1, 0, tmp_path)
    assert fault is not None
    assert message in fault
    assert refused


def test_fuzz(run: Callable[..., str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("fuzz", "--kind", "manifests", "--seconds", 0.1, "--limit", PATIENCE)
    assert ended.value.code == 0
