"""`--json`: one document of every command, with one head."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.audio import write_speech
from kit.command import run_command, run_process
from typer.core import TyperGroup
from typer.main import get_command

import audiotool
from audiotool import json_output
from audiotool.cli.app import app


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with its words."""
    if not isinstance(command, TyperGroup):
        yield words, command
        return
    context = command.make_context("audiotool", [], resilient_parsing=True)
    for name in command.list_commands(context):
        yield from leaves(command.get_command(context, name), (*words, name))


def test_every_command_takes_it() -> None:
    found = dict(leaves(get_command(app)))
    assert ("denoise",) in found
    assert ("models", "list") in found
    for words, command in found.items():
        assert any("--json" in parameter.opts for parameter in command.params), words


def test_documents_and_lines_have_one_head() -> None:
    document = json.loads(json_output.document("models list", checkpoints=[]))
    assert document == {
        "schema": json_output.SCHEMA,
        "audiotool": audiotool.__version__,
        "command": "models list",
        "checkpoints": [],
    }
    line = json_output.line("done", file="caf\udce9\n\x9b.wav")
    assert "\n" not in line
    assert line.isprintable()
    assert json.loads(line) == {"schema": 1, "event": "done", "file": "caf\\xe9\n\x9b.wav"}


@pytest.mark.parametrize("words", ["models verify", "recipes losses"])
def test_answers_are_documents(words: str) -> None:
    done = run_command(*words.split(), "--json")
    assert json.loads(done.stdout)["command"] == words


def denoise(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return run_process("denoise", *words)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good files and a bad one."""
    folder = tmp_path_factory.mktemp("recordings")
    for name in "ab":
        write_speech(folder / f"{name}.wav", 1.0)
    (folder / "bad.wav").write_bytes(b"RIFF")
    return folder


def test_a_batch_is_a_document_and_its_progress_are_events(recordings: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyloudnorm")
    report = tmp_path / "report.json"
    words = (recordings, "-o", tmp_path / "out", "--json", "--progress", "json", "--report", report)
    done = denoise(*words, "--metrics", "loudness", "--jobs", "2")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document == json.loads(report.read_text()), "a report is the same document"
    assert (document["schema"], document["command"]) == (1, "denoise")
    rows = {row["file"]: row for row in document["files"]}
    assert rows["bad.wav"]["status"] == "failed"
    row = rows["a.wav"]
    assert set(row) >= {
        *("input", "output", "model", "checkpoint_sha256", "version", "settings", "notes", "seconds", "peak"),
        *("input_peak", "elapsed_seconds", "limited", "loudness", "loudness_noisy"),
    }
    events = [json.loads(line) for line in done.stderr.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "begun"
    assert sorted(k for k in kinds if k in ("started", "done", "failed")) == ["done"] * 2 + ["failed"] + [
        *["started"] * 3
    ]
    assert "ended" in kinds


def test_a_batch_ends_with_one_line(recordings: Path, tmp_path: Path) -> None:
    done = denoise(recordings, "-o", tmp_path / "out")
    assert done.stderr.splitlines()[-1].startswith("audiotool: 1 of 3 files failed; 2.0 s of audio in")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "-", "--json"), "both write to standard output"),
        (("-o", "-", "--metrics", "loudness"), "cannot be scored"),
        (("-o", "-", "--subtype", "IMA_ADPCM"), "standard output takes PCM_U8, "),
        (("-o", "-", "--format", "flac"), "standard output takes WAV, not flac"),
        (("-o", "OUT", "--metrics", "pesq"), "give --reference"),
        (("-o", "OUT", "--metrics", "pesk"), "did you mean 'pesq'"),
    ],
)
def test_options_that_exclude_each_other_exit_2(
    recordings: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    places = [str(tmp_path / "out.wav") if word == "OUT" else word for word in words]
    done = denoise(recordings / "a.wav", *places)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_an_error_is_an_event(recordings: Path, tmp_path: Path) -> None:
    done = denoise(recordings / "missing.wav", "-o", tmp_path / "out.wav", "--progress", "json")
    assert done.returncode == 2
    (event,) = map(json.loads, done.stderr.splitlines())
    assert (event["event"], event["exit_code"]) == ("error", 2)
    assert "no such input" in event["text"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("denoise", "--progress", "json", "--nonsense"), "there is no option '--nonsense'"),
        (("separate", "--progress=json", "a.wav", "--jobs", "many"), "'many' is not a whole number"),
        (("denoise", "a.wav", "--mix", "3", "--progress", "json"), "is not in the range"),
        (("evaluate", "--progress", "json"), "say what to score"),
        (("train", "--progress", "json"), "missing argument"),
        (("train", "missing", "--progress", "json"), "no recipe 'missing'"),
        (("denois", "a.wav", "--progress", "json"), "did you mean 'denoise'"),
    ],
)
def test_an_error_of_the_command_line_is_an_event(words: tuple[str, ...], message: str) -> None:
    if words[0] == "train":
        pytest.importorskip("lightning_fabric")
    done = run_command(*words)
    assert done.exit_code == 2
    (event,) = map(json.loads, done.stderr.splitlines())
    assert (event["event"], event["exit_code"]) == ("error", 2)
    assert message in event["text"]


@pytest.mark.parametrize(
    "words", [("--progress", "auto", "--nonsense"), ("--nonsense", "--", "--progress=json")]
)
def test_other_errors_of_the_command_line_are_text(words: tuple[str, ...]) -> None:
    done = run_command("denoise", *words)
    assert done.exit_code == 2
    assert "there is no option '--nonsense'" in done.stderr
    assert not done.stderr.startswith("{")
