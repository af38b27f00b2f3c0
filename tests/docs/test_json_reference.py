"""The page of JSON documents has the fields that commands write."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from kit.audio import write_speech
from kit.command import run_command
from kit.docs import ROOT

from audiotool.report.report import Run

PAGE = (ROOT / "docs" / "reference" / "json.md").read_text("utf-8")


def written() -> Iterator[tuple[str, str]]:
    """Yield command and field of each `write_document` that spells both out."""
    for path in (ROOT / "audiotool" / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "write_document":
                command = node.args[0]
                if isinstance(command, ast.Constant):
                    yield from (
                        (str(command.value), word.arg) for word in node.keywords if word.arg is not None
                    )


def listed_in(section: str) -> set[str]:
    """Return the names in the first column of the first table after a text."""
    table = PAGE.partition(section)[2].partition("| --- | --- |\n")[2].partition("\n\n")[0]
    return {name for line in table.split("\n") for name in re.findall("`(.*?)`", line.split(" | ")[0])}


def test_fields_of_documents_are_listed() -> None:
    rows = re.findall(r"^\| (`.*?`) \| (.*) \|$", PAGE.partition("\n### ")[0], re.MULTILINE)
    listed = {command: fields for commands, fields in rows for command in re.findall("`(.*?)`", commands)}
    found = set(written())
    assert ("models list", "faults") in found
    assert [(command, field) for command, field in found if f"`{field}`" not in listed[command]] == []


@pytest.mark.parametrize("words", ["denoise --residual rest.wav --reference in.wav", "super-resolve"])
def test_fields_of_files_are_listed(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_speech(tmp_path / "in.wav", 0.5)
    report = json.loads(run_command(*words.split(), "in.wav", "-o", "out.wav", "--json").stdout)
    [row] = report["files"]
    assert {("bandwidth_hz", "residual")["--residual" in words], "elapsed_seconds"} <= row.keys()
    scores = set(report["summary"])
    assert row.keys() - scores - listed_in("### Files") == set()


def test_fields_of_a_run_are_listed() -> None:
    assert {field.name for field in fields(Run)} == listed_in("`run` has")
