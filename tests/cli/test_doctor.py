"""`audiotool doctor`, as a user runs it, also without a working PyTorch."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Literal

import pytest
from kit.command import run_command, run_process

from audiotool.doctor import Finding


def doctor(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_process("doctor", *words, env={**os.environ, **environment})


def test_a_torch_that_does_not_load_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libcudart.so.13: cannot open')")
    (tmp_path / "torch-2.11.0+cpu.dist-info").mkdir()
    (tmp_path / "torch-2.11.0+cpu.dist-info" / "METADATA").write_text("Name: torch\nVersion: 2.11.0+cpu\n")
    done = doctor("--json", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1, done.stderr
    found = {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["torch"]["status"] == "problem"
    assert "OSError: libcudart.so.13: cannot open" in found["torch"]["detail"]
    assert "--force-reinstall" in found["torch"]["fix"]
    assert found["checkpoints"]["status"] == "ok"
    assert found["numpy"]["status"] == "ok"


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("note", 0), ("problem", 1)])
def test_lines_and_exit_code(
    status: Literal["ok", "note", "problem"], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = [Finding("Python", "ok", "3.11"), Finding("pesq", status, "not right", "pip install pesq")]
    monkeypatch.setattr("audiotool.doctor.diagnose", lambda: findings)
    done = run_command("doctor")
    assert done.exit_code == code
    mark = {"ok": "ok", "note": "note", "problem": "PROBLEM"}[status]
    assert done.stdout.splitlines() == [
        "ok       Python: 3.11",
        f"{mark:<8} pesq: not right",
        "         fix: pip install pesq",
    ]
