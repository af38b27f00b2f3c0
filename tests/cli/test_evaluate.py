"""`audiotool evaluate`, as a user runs it."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like
from kit.command import run_process
from kit.disk import largest_file

RATE = 16000


def evaluate(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return run_process("evaluate", *words)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clean/, out/ and noisy/ with a spoken, a silent and a truncated file each."""
    root = tmp_path_factory.mktemp("evaluate")
    clean = speech_like(2.0, RATE)[0]
    noise = np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    for folder, amount in (("clean", 0.0), ("out", 0.01), ("noisy", 0.1)):
        (root / folder / "deep").mkdir(parents=True)
        soundfile.write(root / folder / "deep" / "spoken.wav", clean + amount * noise, RATE)
        soundfile.write(root / folder / "silent.wav", amount * noise, RATE)
    return root


def test_folders_give_a_table_a_report_and_reasons(folders: Path, tmp_path: Path) -> None:
    done = evaluate(
        *("--reference", folders / "clean", "--estimate", folders / "out", "--noisy", folders / "noisy"),
        *("--report", tmp_path / "report.json", "--jobs", "2"),
    )
    assert done.returncode == 0, done.stderr
    assert "deep/spoken" in done.stdout
    assert "→" in done.stdout
    assert "silent: no pesq" in done.stderr
    found = json.loads((tmp_path / "report.json").read_text())
    silent, spoken = sorted(found["files"], key=lambda f: f["file"], reverse=True)
    assert [silent["file"], spoken["file"]] == ["silent", "deep/spoken"]
    assert silent["stoi"] is None
    assert silent["reasons"]["stoi"] == "the reference is silent"
    assert spoken["si_sdr_improvement"] == pytest.approx(20, abs=1)
    assert found["summary"]["pesq"] == {"mean": spoken["pesq"], "scored": 1, "null": 1}


def test_single_files_chosen_metrics_json_and_csv(folders: Path, tmp_path: Path) -> None:
    done = evaluate(
        *("--reference", folders / "clean/deep/spoken.wav", "--estimate", folders / "out/deep/spoken.wav"),
        *("--metrics", "si_sdr,lsd", "--json", "--report", tmp_path / "report.csv"),
    )
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)["files"]
    places = {"file", "status", "si_sdr", "lsd", "estimate", "reference", "version", "reasons", "notes"}
    assert set(row) == places | {
        "seconds",
        "sample_rate",
        "reference_sample_rate",
        "channels",
        "peak",
        "elapsed_seconds",
    }
    assert (row["status"], row["seconds"], row["sample_rate"], row["channels"]) == ("done", 2.0, 16000, 1)
    spoken, _ = soundfile.read(folders / "out/deep/spoken.wav")
    assert row["peak"] == pytest.approx(np.abs(spoken).max(), abs=1e-4)
    document = json.loads(done.stdout)
    assert list(document)[:3] == ["schema", "audiotool", "command"]
    assert document["command"] == "evaluate"
    lines = list(csv.DictReader((tmp_path / "report.csv").read_text().splitlines()))
    assert float(lines[0]["lsd"]) == pytest.approx(row["lsd"], rel=1e-5)


def test_a_file_that_cannot_be_read_is_a_row_and_exit_code_1(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "silent.wav").write_bytes(b"RIFF")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "spoken.wav").write_bytes((folders / "out/deep/spoken.wav").read_bytes())
    done = evaluate("--reference", folders / "clean", "--estimate", tmp_path, "--metrics", "stoi", "--json")
    assert done.returncode == 1
    rows = {row["file"]: row for row in json.loads(done.stdout)["files"]}
    assert rows["deep/spoken"]["stoi"] > 0.5
    assert "cannot be read" in rows["silent"]["reasons"]["stoi"]
    assert "1 of 2 files could not be compared" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metrics", "pesk"], "did you mean 'pesq'"),
        (["--metrics", ","], "--metrics names none"),
        (["--task", "denoize"], "did you mean 'denoise'"),
        (["--report", "report.txt"], "a report ends in .json, .csv"),
        (["--noisy", "missing"], "no such file or folder"),
    ],
)
def test_bad_options_exit_2_before_any_work(folders: Path, words: list[str], message: str) -> None:
    done = evaluate("--reference", folders / "clean", "--estimate", folders / "out", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def gate(folders: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return evaluate("--reference", folders / "clean", "--estimate", folders / "out", *words)


def test_a_score_below_its_threshold_is_a_reported_failure(folders: Path) -> None:
    """The spoken file is at 20 dB and has its number; the silent one has none."""
    done = gate(
        folders, "--metrics", "stoi", "--fail-under", "si_sdr=100", "--fail-under", "lsd=0.1", "--json"
    )
    assert done.returncode == 1
    document = json.loads(done.stdout)
    spoken = [f for f in document["failures"] if f["file"] == "deep/spoken"]
    assert [f["metric"] for f in spoken] == ["si_sdr", "lsd"]
    assert spoken[0]["limit"] == 100
    assert spoken[0]["value"] == pytest.approx(document["files"][0]["si_sdr"])
    assert "deep/spoken: si_sdr" in done.stderr
    assert "is below 100" in done.stderr
    assert "is above 0.1" in done.stderr, "less of a distance is better"
    assert "silent: no si_sdr: the reference is silent" in done.stderr
    assert "2 of 2 files do not reach --fail-under" in done.stderr


def test_scores_at_their_thresholds_pass(folders: Path) -> None:
    words = ("--reference", folders / "clean/deep/spoken.wav", "--estimate", folders / "out/deep/spoken.wav")
    noisy = ("--noisy", folders / "noisy/deep/spoken.wav", "--fail-under", "si_sdr_improvement=10")
    done = evaluate(*words, *noisy, "--metrics", "si_sdr", "--fail-under", "lsd=100", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["failures"] == []
    assert set(document["summary"]) >= {"si_sdr", "lsd"}, "what is asked of is measured"


def test_files_that_cannot_be_written_cost_neither_scores_nor_verdicts(folders: Path, tmp_path: Path) -> None:
    places = ("--reference", folders / "clean", "--estimate", folders / "out", "--noisy", folders / "noisy")
    report, plot = tmp_path / "r.md", tmp_path / "p.svg"
    with largest_file(10):
        done = evaluate(
            *(*places, "--metrics", "si_sdr", "--fail-under", "si_sdr=99", "--json"),
            *("--report", report, "--plot", plot),
        )
    assert done.returncode == 1
    assert len(json.loads(done.stdout)["files"]) == 2
    *_, verdict, first, second = done.stderr.splitlines()
    assert verdict == "audiotool: 2 of 2 files do not reach --fail-under"
    assert first.startswith(f"audiotool: error: cannot write {report}: ")
    assert second.startswith(f"audiotool: error: cannot write {plot}: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fail-under", "pesk=2"], "did you mean 'pesq'"),
        (["--fail-under", "pesq"], "say METRIC=NUMBER"),
        (["--fail-under", "pesq=good"], "say METRIC=NUMBER"),
        (["--fail-under", "pesq=nan"], "say METRIC=NUMBER"),
        (["--fail-under", "pesq=2.5,stoi=0.9"], "once for each metric"),
        (["--fail-under", "composite=2"], "is several metrics: cbak, covl, csig"),
        (["--fail-under", "si_sdr_improvement=1"], "give --noisy"),
        (["--fail-under", "loudness_improvement=1"], "is no improvement"),
    ],
)
def test_thresholds_that_cannot_be_meant_exit_2(folders: Path, words: list[str], message: str) -> None:
    done = gate(folders, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_two_systems_are_compared(folders: Path, tmp_path: Path) -> None:
    other, both = tmp_path / "other.csv", tmp_path / "both.json"
    words = ("--reference", folders / "clean", "--metrics", "si_sdr,lsd", "--against", other)
    assert gate(folders, "--metrics", "si_sdr,snr", "--report", other, "--quiet").returncode == 0
    done = evaluate(*words, "--estimate", folders / "noisy", "--report", both)
    assert done.returncode == 0, done.stderr
    assert f"This system against {other}" in done.stdout
    found = json.loads(both.read_text())["comparison"]
    assert (found["files"], found["only_this"], found["only_other"]) == (2, 0, 0)
    assert list(found["metrics"]) == ["si_sdr"], "the other report has no lsd"
    scores = found["metrics"]["si_sdr"]
    assert scores["n"] == 1, "the silent file has no number"
    assert scores["difference"] == pytest.approx(-20, abs=1)
    assert (scores["wins"], scores["losses"], scores["interval_95"]) == (0, 1, None)
    done = evaluate(*words, "--estimate", folders / "noisy", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["comparison"] == found


def test_comparisons_that_cannot_be_meant_exit_2(folders: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    lines = ["file,pesq,status,reasons,notes", "silent,1.5,done,,", "deep/spoken,2.5,done,,"]
    other.write_text("\n".join(lines))
    cases: list[tuple[list[str | Path], str]] = [
        (["--quiet", "--report", tmp_path / "new.csv"], "--quiet hides"),
        ([], "other.csv has none of these metrics: snr"),
    ]
    for words, message in cases:
        done = gate(folders, "--metrics", "snr", "--against", other, *words)
        assert done.returncode == 2
        assert message in done.stderr
    other.write_text("\n".join([*lines, lines[1]]))
    done = gate(folders, "--metrics", "pesq", "--against", other)
    assert done.returncode == 2
    assert "other.csv has several rows of silent: give the report of one system" in done.stderr


def test_estimates_alone_are_scored_by_non_intrusive_metrics(folders: Path) -> None:
    pytest.importorskip("pyloudnorm")
    done = evaluate("--estimate", folders / "out", "--metrics", "loudness", "--json", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    rows = {row["file"]: row for row in json.loads(done.stdout)["files"]}
    assert rows["deep/spoken"]["loudness"] == pytest.approx(-20, abs=10)
    assert "reference" not in rows["silent"]
    done = evaluate("--estimate", folders / "out", "--metrics", "pesq,loudness")
    assert done.returncode == 2
    assert "pesq: these compare with a clean version, give --reference" in done.stderr


def test_estimates_alone_have_all_scores_that_need_no_reference(folders: Path) -> None:
    done = evaluate("--estimate", folders / "out/deep/spoken.wav", "--json")
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)["files"]
    assert {"dnsmos_ovrl", "dnsmos_sig", "dnsmos_bak", "dnsmos_p808", "plcmos", "loudness"} <= set(row)


def test_progress_for_programs(folders: Path) -> None:
    done = gate(folders, "--metrics", "snr", "--progress", "json", "--fail-under", "snr=10")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event["event"] for event in events[:4]] == ["begun", "done", "done", "ended"]
    assert events[0] == {"schema": 1, "event": "begun", "command": "evaluate", "total": 2}
    assert {event["event"] for event in events[4:]} == {"message"}
    assert events[2]["eta_seconds"] == 0
    assert events[3]["done"] == 2
    assert events[3]["audio_seconds"] == pytest.approx(events[1]["seconds"] + events[2]["seconds"])
    assert "deep/spoken" in done.stdout, "the table stays on standard output"


def test_a_list_names_the_pairs(folders: Path, tmp_path: Path) -> None:
    lines = ["input,output,reference"]
    for name in ("deep/spoken.wav", "silent.wav"):
        lines.append(",".join(str(folders / kind / name) for kind in ("noisy", "out", "clean")))
    listing = tmp_path / "list.csv"
    listing.write_text("\n".join(lines))
    done = evaluate("--list", listing, "--metrics", "snr", "--json")
    assert done.returncode == 0, done.stderr
    found = {row["file"]: row for row in json.loads(done.stdout)["files"]}
    spoken, silent = (found[str(folders / "out" / name)] for name in ("deep/spoken.wav", "silent.wav"))
    noisy, _ = soundfile.read(folders / "noisy/deep/spoken.wav")
    assert spoken["input_peak"] == pytest.approx(np.abs(noisy).max(), abs=1e-4)
    assert spoken["snr_improvement"] == pytest.approx(20, abs=0.5)
    assert silent["snr"] is None
    lines = ["output,reference", f"{folders}/out/deep/spoken.wav,{folders}/clean/deep/spoken.wav"]
    listing.write_text("\n".join(lines))
    done = evaluate("--list", listing, "--metrics", "snr", "--json")
    assert done.returncode == 0, done.stderr
    [alone] = json.loads(done.stdout)["files"]
    assert alone["snr"] == spoken["snr"]
    assert "snr_improvement" not in alone
    other = tmp_path / "other.json"
    other.write_text(done.stdout)
    listing.write_text("\n".join(lines).replace("/out/", "/noisy/"))
    done = evaluate("--list", listing, "--metrics", "snr", "--json", "--against", other)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["comparison"]["metrics"]["snr"]["difference"] == pytest.approx(-20, abs=1)
    listing.write_text("input\na.wav\n")
    paths = tmp_path / "list.txt"
    paths.write_text("a.wav\n")
    cases: list[tuple[list[str | Path], str]] = [
        (["--list", listing], "the column output is missing; it has input"),
        (["--list", paths], "line 1: a list to score is a CSV whose first line names the column output"),
        (["--list", listing, "--reference", folders], "--list names what"),
        ([], "say what to score"),
    ]
    for words, message in cases:
        done = evaluate(*words)
        assert done.returncode == 2
        assert message in done.stderr


def test_a_file_is_listed_and_compared_once(folders: Path, tmp_path: Path) -> None:
    names = ("deep/spoken.wav", "silent.wav")
    rows = [f"{folders}/out/{name},{folders}/clean/{name}" for name in names]
    listing, other = tmp_path / "list.csv", tmp_path / "other.json"
    for again in (rows[0], rows[0].replace("/out/", "/out/../out/")):
        listing.write_text("\n".join(["output,reference", *rows, again]))
        done = evaluate("--list", listing, "--metrics", "snr")
        assert done.returncode == 2
        assert "line 4 is line 2 once more: list what is scored once" in " ".join(done.stderr.split())
    listing.write_text("\n".join(["output,reference", *rows]))
    assert evaluate("--list", listing, "--metrics", "snr", "--report", other).returncode == 0
    # One estimate of two references is scored twice, and of which of them the report has it is not known.
    listing.write_text("\n".join(["output,reference", *rows, rows[0].replace("/clean/", "/noisy/")]))
    assert evaluate("--list", listing, "--metrics", "snr").returncode == 0
    done = evaluate("--list", listing, "--metrics", "snr", "--against", other)
    assert done.returncode == 2
    assert "--against compares a file once, and several rows are of" in " ".join(done.stderr.split())
