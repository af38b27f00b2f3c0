"""onnxruntime sends nothing and keeps no identifier of the device, unless its user says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kit.audio import write_speech
from kit.command import run_process
from kit.patience import PATIENCE

from audiotool.doctor import Finding, check_telemetry

VARIABLE = "ORT_DISABLE_TELEMETRY"


def environment(home: Path, **values: str) -> dict[str, str]:
    """An environment without the variable, whose home and temporary folder are `home`."""
    places = ("HOME", "TMPDIR", "LOCALAPPDATA", "APPDATA", "TEMP", "TMP", "XDG_CACHE_HOME")
    others = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return {**others, **dict.fromkeys(places, str(home)), **values}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_command_leaves_no_identifier_and_no_events(tmp_path: Path, jobs: int) -> None:
    home = tmp_path / "home"
    home.mkdir()
    sources = [write_speech(tmp_path / f"{name}.wav", 0.5, 16000) for name in "ab"]
    words = ("-o", f"{tmp_path / 'out'}/", "--jobs", jobs)
    done = run_process("denoise", *sources, *words, env=environment(home))
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 2
    left = [path for path in home.rglob("*") if "Microsoft" in path.parts or path.name == ".ses"]
    assert not left


@pytest.mark.parametrize(("values", "expected"), [({}, "1"), ({VARIABLE: "0"}, "0")])
def test_it_is_off_for_all_that_is_imported_later_unless_the_user_says_so(
    tmp_path: Path, values: dict[str, str], expected: str
) -> None:
    program = f"import audiotool, os; print(os.environ['{VARIABLE}'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(tmp_path, **values),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert done.stdout.strip() == expected


def test_the_doctor_says_whether_it_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    assert list(check_telemetry()) == [
        Finding("telemetry", "ok", f"onnxruntime's is off: {VARIABLE}=1"),
    ]
    monkeypatch.setenv(VARIABLE, "0")
    (found,) = check_telemetry()
    assert (found.status, found.fix) == ("note", f"set {VARIABLE}=1")
