"""Options that take a path alone refuse URLs, and write nothing below the current folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from kit.audio import write_speech
from kit.command import run_command

from audiotool.batch.listing import Entry
from audiotool.batch.plan import Layout, make_plan
from audiotool.cli.app import app
from audiotool.errors import PlanError

PATHS = {"path", "file", "directory"}


def paths_of(command: Any, words: str) -> Iterator[tuple[str, Any]]:
    """Yield the types of the parameters of all commands that are paths."""
    for name, below in getattr(command, "commands", {}).items():
        yield from paths_of(below, f"{words} {name}")
    for parameter in command.params:
        for kind in getattr(parameter.type, "types", [parameter.type]):
            if kind.name in PATHS:
                yield f"{words} {parameter.name}", kind


def test_no_path_of_any_command_is_a_url() -> None:
    group: Any = typer.main.get_command(app)
    found = {
        place: kind
        for name in group.list_commands(None)
        for place, kind in paths_of(group.get_command(None, name), name)
    }
    assert {"denoise report", "denoise enroll", "evaluate frames", "live record", "train run"} <= set(found)
    for place, kind in found.items():
        with pytest.raises(PlanError, match=r"takes a path, and s3://bucket/x is a URL: only the inputs and"):
            kind.convert("s3://bucket/x", None, None)
        assert str(kind.convert("s3:x", None, None)) == "s3:x", place


@pytest.mark.parametrize(
    "words",
    [
        "denoise a.wav -o b.wav --report {url}/r.json",
        "denoise a.wav -o b.wav --reference {url}/a.wav",
        "denoise --list {url}/list.csv -o out",
        "vocode a.npy -o b.wav --f0 {url}/a.npy",
        "evaluate --estimate {url}/a.wav",
        "evaluate --list {url}/list.csv",
        "evaluate --list list.csv",
        "report merge r.json -o {url}/all.json",
        "plot a.wav -o {url}/a.png",
        "data scan . -o {url}/a.csv",
        "models import {url}/a.pt --model gtcrn -o a.safetensors",
    ],
)
@pytest.mark.parametrize("protocol", ["s3://bucket", "file:///tmp"])
def test_a_url_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, protocol: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_speech(Path("a.wav"), 0.1)
    Path("list.csv").write_text(f"output,reference\na.wav,a.wav\na.wav,{protocol}/a.wav\n")
    before = sorted(Path().iterdir())
    result = run_command(*words.format(url=protocol).split())
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    hint = "only the inputs and outputs of a batch" if protocol.startswith("s3") else "give /tmp/"
    assert f"{protocol}/" in result.stderr
    assert f"is a URL: {hint}" in result.stderr
    assert sorted(Path().iterdir()) == before


def test_a_file_may_have_a_colon_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_speech(Path("s3:a.wav"), 0.5)
    score = ("evaluate", "--estimate", "s3:a.wav", "--reference", "s3:a.wav", "--metrics", "snr")
    assert run_command(*score, "--report", "at 10:30.json").exit_code == 0
    assert Path("at 10:30.json").is_file()


def test_a_reference_of_a_list_has_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_speech(Path("a.wav"), 0.1)
    entries = [Entry("a.wav", "b.wav", "a.wav"), Entry("a.wav", "c.wav", "s3://bucket/a.wav")]
    plan = make_plan([], Layout(listed=entries))
    assert [job.references for job in plan.jobs] == [(Path("a.wav"),), ()]
    assert plan.jobs[1].unscored.startswith("a reference has a path, and s3://bucket/a.wav is a URL")
