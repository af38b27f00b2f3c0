"""`audiotool denoise --report`: how outputs came to be, resumed runs, and what no report may show."""

from __future__ import annotations

import csv
import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from kit.audio import write_speech
from kit.command import one_line
from typer.testing import Result

import audiotool
from audiotool import extras
from audiotool.checkpoint import sha256
from audiotool.metrics.rows import NOT_FETCHED, Row
from audiotool.report.report import Report
from audiotool.report.write import write_reports

DEMO = Path(__file__).parents[1] / "data" / "audio" / "demo"


def test_a_real_recording_with_its_report(denoise: Callable[..., Result]) -> None:
    result = denoise(
        *(DEMO / "noisy.flac", "-o", "out.flac", "--reference", DEMO / "clean.flac", "--report", "r.json")
    )
    assert result.exit_code == 0, result.output
    assert soundfile.info("out.flac").frames == soundfile.info(str(DEMO / "noisy.flac")).frames
    [row] = json.loads(Path("r.json").read_text())["files"]
    assert row["status"] == "done"
    assert row["reference_sample_rate"] == soundfile.info(str(DEMO / "clean.flac")).samplerate
    for metric in ("pesq", "stoi", "estoi", "si_sdr"):
        assert row[f"{metric}_improvement"] == pytest.approx(row[metric] - row[f"{metric}_noisy"])
    assert "pesq" in result.stdout
    assert "→" in result.stdout


def test_rows_of_one_input_are_in_the_order_of_its_outputs(denoise: Callable[..., Result]) -> None:
    """Workers end their jobs in any order."""
    write_speech(Path("a.wav"), 0.2)
    Path("list.csv").write_text("input,output\na.wav,2.wav\na.wav,1.wav\n")
    result = denoise("--list", "list.csv", "--report", "r.json")
    assert result.exit_code == 0, result.output
    assert [row["output"] for row in json.loads(Path("r.json").read_text())["files"]] == ["1.wav", "2.wav"]


def test_an_input_without_a_reference_is_denoised_and_not_scored(denoise: Callable[..., Result]) -> None:
    for name in ("in/a.wav", "in/b.wav", "clean/a.wav"):
        write_speech(Path(name), 0.5)
    result = denoise("in", "-o", "out", "--reference", "clean", "--report", "r.json")
    assert result.exit_code == 0, result.output
    assert Path("out/b.wav").exists()
    a, b = json.loads(Path("r.json").read_text())["files"]
    assert (a["status"], b["status"]) == ("done", "done")
    assert a["si_sdr"] is not None
    assert b["si_sdr"] is None
    assert "b.wav has no reference: clean/b.wav does not exist" in b["reasons"]["si_sdr"]


def test_a_report_says_how_an_output_came_to_be(
    denoise: Callable[..., Result], tiny_checkpoint: Path
) -> None:
    write_speech(Path("in.wav"), 0.2)
    Path("bad.wav").write_bytes(b"Dear friend, ...")
    result = denoise("in.wav", "bad.wav", "-o", "out", "--mix", 0.5, "--report", "r.json")
    assert result.exit_code == 1
    bad, good = json.loads(Path("r.json").read_text())["files"]
    assert (good["input"], good["output"]) == ("in.wav", "out/in.wav")
    assert good["model"] == str(tiny_checkpoint)
    assert good["checkpoint_sha256"] == sha256(tiny_checkpoint)
    assert good["version"] == audiotool.__version__
    assert good["settings"]["mix"] == 0.5
    assert bad["input"] == "bad.wav"
    assert "output" not in bad
    Path("bad.wav").unlink()
    assert denoise("in.wav", "-o", "out/", "--skip-existing", "--report", "r.csv").exit_code == 0
    [row, *_] = csv.DictReader(Path("r.csv").read_text().splitlines())
    assert (row["status"], row["output"]) == ("skipped", "out/in.wav")
    assert "model" not in row, "what made it is not known"


def test_a_report_that_cannot_be_read_is_not_replaced_by_a_resumed_run(
    denoise: Callable[..., Result],
) -> None:
    write_speech(Path("in/a.wav"), 0.2)
    path = Path("r.json")
    path.write_text("")
    command = ("in", "-o", "out", "--skip-existing", "--report", path)
    assert denoise(*command).exit_code == 0
    path.write_bytes(path.read_bytes()[:-50])
    before = path.read_bytes()
    write_speech(Path("in/b.wav"), 0.2)
    result = denoise(*command)
    assert result.exit_code == 2
    assert "r.json is no report" in one_line(result)
    assert "move it, or give another --report" in one_line(result)
    assert path.read_bytes() == before
    assert not Path("out/b.wav").exists()
    path.unlink()
    assert denoise(*command).exit_code == 0


def test_a_resumed_report_keeps_the_facts_of_inputs_of_the_future(denoise: Callable[..., Result]) -> None:
    source = write_speech(Path("in/a.wav"), 0.2)
    ahead = time.time() + 3600
    os.utime(source, (ahead, ahead))
    command = ("in", "-o", "out", "--report", "r.json")
    assert denoise(*command, "--max-attenuation", 12).exit_code == 0
    [before] = json.loads(Path("r.json").read_text())["files"]
    assert denoise(*command, "--skip-existing").exit_code == 0
    write_speech(Path("in/b.wav"), 0.2)
    assert denoise(*command, "--skip-existing").exit_code == 0
    after, _ = json.loads(Path("r.json").read_text())["files"]
    assert after == {**before, "status": "skipped"}
    assert after["settings"]["max_attenuation_db"] == 12
    os.utime("out/a.wav", (ahead + 5, ahead + 5))
    write_speech(Path("in/c.wav"), 0.2)
    assert denoise(*command, "--skip-existing").exit_code == 0
    after, *_ = json.loads(Path("r.json").read_text())["files"]
    assert "settings" not in after, "another program wrote this output"


def test_a_resumed_report_keeps_what_is_known_of_outputs_in_a_store(denoise: Callable[..., Result]) -> None:
    pytest.importorskip("fsspec", reason=extras.install("remote"))
    write_speech(Path("in/a.wav"), 0.2)
    place = f"memory://{uuid.uuid4().hex}"
    command = ("in", "-o", place, "--reference", "in", "--metrics", "si_sdr", "--report", "r.json")
    assert denoise(*command, "--max-attenuation", 12).exit_code == 0
    [before] = json.loads(Path("r.json").read_text())["files"]
    assert isinstance(before["si_sdr"], float)
    write_speech(Path("in/b.wav"), 0.2)
    absolute = [Path(word).resolve() if word == "in" else word for word in command]
    assert denoise(*absolute, "--skip-existing").exit_code == 0
    after, _ = json.loads(Path("r.json").read_text())["files"]
    spelled = {name: str(Path("in/a.wav").resolve()) for name in ("input", "reference")}
    assert after == {**before, **spelled, "status": "skipped"}
    # Scores against another reference are not taken over.
    write_speech(Path("other/a.wav"), 0.2)
    write_speech(Path("other/b.wav"), 0.2)
    for reference in ("other", "in"):
        anew = ("in", "-o", place, "--reference", reference, "--metrics", "si_sdr", "--report", "r.json")
        assert denoise(*anew, "--skip-existing").exit_code == 0
        after, _ = json.loads(Path("r.json").read_text())["files"]
        assert after["reference"] == str(Path(reference, "a.wav"))
        assert (after["si_sdr"], after["reasons"]["si_sdr"]) == (None, NOT_FETCHED)
        assert after["settings"] == before["settings"]


def test_credentials_of_urls_are_neither_shown_nor_written(
    denoise: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec", reason=extras.install("remote"))
    place = f"memory://jane:hunter2@{uuid.uuid4().hex}"
    write_speech(Path("in.wav"), 0.2)
    fsspec.filesystem("memory").put("in.wav", f"{place}/in.wav")
    Path("list.txt").write_text(f"{place}/in.wav\n{place}/gone.wav\n")
    reports = ("r.json", "r.csv", "r.html", "r.md")
    words = ("--list", "list.txt", "-o", "out", *(word for name in reports for word in ("--report", name)))
    monkeypatch.setattr("sys.argv", ["audiotool", "denoise", f"--reference={place}/clean", *words])
    for more in ((), ("--skip-existing",), ("--overwrite", "--progress", "json")):
        result = denoise(*words, *more)
        assert result.exit_code == 1
        assert "/gone.wav: there is no such object" in result.stderr
        assert "hunter2" not in result.output
        assert not [name for name in reports if "hunter2" in Path(name).read_text(encoding="utf-8")]
        assert not [path for path in Path("out").rglob("*") if "hunter2" in str(path)]
        report = json.loads(Path("r.json").read_text())
        [good] = (row for row in report["files"] if row["status"] != "failed")
        assert good["input"] == f"{place}/in.wav".replace("jane:hunter2@", "")
        assert good["sample_rate"] == 16000, "a resumed report has the facts of the earlier one"
    with_query = denoise("http://jane:hunter2@127.0.0.1:1/in.wav?token=1", "-o", "out")
    assert with_query.exit_code == 2
    assert "http://127.0.0.1:1/in.wav" in one_line(with_query)
    assert "hunter2" not in with_query.output
    assert "token" not in with_query.output


def test_interrupted_before_anything_was_done(
    denoise: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report says so, but takes no earlier one's place."""

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("audiotool.batch.run._run_here", interrupted)
    write_speech(tmp_path / "a.wav")
    write_reports([tmp_path / "earlier.json"], Report([Row("a.wav")]))
    before = (tmp_path / "earlier.json").read_text()
    for name in ("new.json", "earlier.json"):
        assert denoise("a.wav", "-o", "b.wav", "--report", name).exit_code == 130
    assert json.loads((tmp_path / "new.json").read_text())["files"] == []
    assert (tmp_path / "earlier.json").read_text() == before
