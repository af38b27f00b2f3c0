"""The page of JSON documents has the fields that commands write."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from kit.docs import ROOT


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


def test_fields_of_documents_are_listed() -> None:
    page = (ROOT / "docs" / "reference" / "json.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?`) \| (.*) \|$", page.partition("\n### ")[0], re.MULTILINE)
    listed = {command: fields for commands, fields in rows for command in re.findall("`(.*?)`", commands)}
    found = set(written())
    assert ("models list", "faults") in found
    assert [(command, field) for command, field in found if f"`{field}`" not in listed[command]] == []
