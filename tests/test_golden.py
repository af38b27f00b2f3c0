"""The four commands give the samples and the report that they gave before.

`tests/data/golden` holds what the bundled checkpoints made of a second of the demo recording. To change it,
copy the files that the failing test names. `RUN`, `ROW` and `SETTINGS` say what the report has.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import soundfile
from kit.command import run_command
from numpy.typing import NDArray

from audiotool.named_checkpoints import bundled_root

DATA = Path(__file__).parent / "data"
GOLDEN = DATA / "golden"

TOLERANCE = 4
"""Steps of 16 bits: processors and builds of onnxruntime differ in rounding."""

RUN = "command started elapsed_s planned finished machine version model checkpoint_sha256 licence settings"
ROW = (
    "file status input output seconds elapsed_seconds sample_rate channels real_time_factor"
    " input_peak peak limited model checkpoint_sha256 version settings reasons notes"
)

SETTINGS: dict[str, dict[str, Any]] = {
    "denoise": {"warm_up": True, "mix": 1.0},
    "separate": {"warm_up": True},
    "vocode": {"warm_up": True},
    "super-resolve": {"warm_up": True},
}
"""Settings in the report of each command."""

RATES = {"denoise": 16000, "denoise-48k": 48000, "separate": 16000, "vocode": 16000, "super-resolve": 8000}
"""Sample rate in Hz of each case's input. A case is a command; above 24 kHz it has another model."""

GRAPHS = list(bundled_root("checkpoints").glob("*.onnx"))


def samples(path: Path) -> NDArray[np.int16]:
    return soundfile.read(path, dtype="int16")[0]


def write_input(rate: int, path: Path) -> None:
    """Write a second of the recording."""
    path.parent.mkdir()
    if rate < 16000:
        # Every second sample: this voice has next to nothing above 4 kHz.
        second = samples(DATA / "audio" / "demo" / "clean.flac")[16000:32000:2]
    else:
        # Each sample three times at 48 kHz: what that adds above 8 kHz is there for the upper bands.
        second = samples(DATA / "audio" / "demo" / "noisy.flac")[16000:32000].repeat(rate // 16000)
    soundfile.write(path, second, rate)


def differ(found: NDArray[Any], golden: NDArray[np.int16]) -> bool:
    return found.shape != golden.shape or np.abs(found.astype(int) - golden).max() > TOLERANCE


@pytest.mark.parametrize("case", RATES)
def test_outputs_and_report(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rate, command = RATES[case], case.removesuffix("-48k")
    write_input(rate, tmp_path / "in" / "a.wav")
    result = run_command(command, "in", "-o", "out", "--engine", "onnx", "--report", "report.json")
    assert result.exit_code == 0, result.output
    made = sorted(tmp_path.glob("out/*.wav"))
    changed = []
    for path in made:
        golden, new = GOLDEN / f"{case}.{path.stem}.flac", tmp_path / f"{case}.{path.stem}.flac"
        soundfile.write(new, samples(path), soundfile.info(path).samplerate)
        if not golden.is_file() or differ(samples(path), samples(golden)):
            changed.append(new)
    assert not changed, f"the samples differ; if that is meant, copy these into {GOLDEN}"
    assert [f"{case}.{path.stem}.flac" for path in made] == sorted(
        path.name for path in GOLDEN.glob(f"{case}.*")
    )
    check_report(json.loads(Path("report.json").read_text()), command, rate, made)


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda path: path.stem)
def test_a_host_loads_a_graph_with_the_runtimes_own_options(graph: Path) -> None:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[::2] == ["batch", "length"]


def meant(name: str) -> str:
    return f"the report is another; if that is meant, change {name} in {__file__} and docs/reference/json.md"


def check_report(report: dict[str, Any], command: str, rate: int, made: list[Path]) -> None:
    assert report.keys() == {"schema", "audiotool", "command", "run", "files", "summary"}
    assert (report["schema"], report["command"], report["summary"]) == (1, command, {})
    assert report["run"].keys() == set(RUN.split()), meant("RUN")
    assert (report["run"]["planned"], report["run"]["finished"]) == (1, 1)
    [row] = report["files"]
    only_here = {"bandwidth_hz"} if command == "super-resolve" else set()
    assert row.keys() == set(ROW.split()) | only_here, meant("ROW")
    assert (row["file"], row["status"], Path(row["input"])) == ("a.wav", "done", Path("in", "a.wav"))
    assert (row["seconds"], row["sample_rate"], row["channels"], row["limited"]) == (1.0, rate, 1, 0)
    assert row["settings"] == report["run"]["settings"]
    assert row["settings"] == SETTINGS[command], meant("SETTINGS")
    loudest = max(np.abs(samples(path).astype(int)).max() for path in made)
    assert row["peak"] == pytest.approx(loudest / 32768, abs=1e-4)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.flac")), ids=lambda path: path.stem)
def test_the_tolerance_hides_no_change(path: Path) -> None:
    """A fiftieth of a dB, one sample's delay, a flipped sign and 10 ms that are missing are all found."""
    golden = samples(path)
    assert not differ(golden, golden)
    missing = golden.copy()
    loudest = np.abs(golden.astype(int)).argmax()
    missing[max(loudest - 80, 0) : loudest + 80] = 0
    for changed in (golden * 10 ** (0.02 / 20), np.roll(golden, 1), -golden, missing):
        assert differ(changed, golden)
