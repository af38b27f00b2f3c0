"""The reference of the Python interface has every public name, and every section of its docstrings."""

from __future__ import annotations

import inspect
import logging
import re
from typing import Any

import pytest
import yaml
from kit.docs import ROOT

import audiotool

PAGE = (ROOT / "docs" / "reference" / "python.md").read_text("utf-8")
SECTION = "^(Args|Attributes|Returns|Yields|Raises):$"
READ_AS = {"Args": "parameters"}
"""Our name of a section -> Griffe's, where they differ."""


def test_every_public_name_is_there() -> None:
    named = set(re.findall(r"^::: audiotool\.(\w+)$", PAGE, re.MULTILINE))
    errors = {name for name in audiotool.__all__ if hasattr(audiotool.errors, name)}
    assert named - {"errors"} == set(audiotool.__all__) - errors - {"__version__"}


@pytest.fixture(scope="module")
def package() -> Any:
    griffe = pytest.importorskip("griffe")
    plugins = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["plugins"]
    [options] = [p["mkdocstrings"]["handlers"]["python"]["options"] for p in plugins if isinstance(p, dict)]
    places = [str(ROOT / place) for place in options["extensions"]]
    return griffe.load(
        "audiotool",
        search_paths=[ROOT],
        extensions=griffe.load_extensions(*places),
        docstring_parser=options["docstring_style"],
        docstring_options=options["docstring_options"],
    )


@pytest.mark.parametrize("name", sorted(set(audiotool.__all__) - {"__version__"}))
def test_every_section_of_a_docstring_is_read(package: Any, name: str) -> None:
    found = getattr(audiotool, name)
    methods = [m for m, value in vars(found).items() if inspect.isfunction(value) and m[0] != "_"]
    for place in (name, *(f"{name}.{method}" for method in methods if inspect.isclass(found))):
        docstring = package[place].docstring
        written = re.findall(SECTION, "" if docstring is None else docstring.value, re.MULTILINE)
        read = [] if docstring is None else [section.kind.value for section in docstring.parsed]
        for section in written:
            assert READ_AS.get(section, section.lower()) in read, place


@pytest.mark.parametrize("name", sorted(set(audiotool.__all__) - {"__version__"}))
def test_what_a_docstring_describes_is_found_with_its_type(
    package: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "griffe")
    described = package[name]
    for member in (described, *described.members.values()):
        docstring = member.final_target.docstring if member.is_alias else member.docstring
        if docstring is not None:
            docstring.parse(docstring.parser, **docstring.parser_options)
    assert caplog.messages == []


TUPLES = [name for name in audiotool.__all__ if hasattr(getattr(audiotool, name), "_fields")]


@pytest.mark.parametrize("name", TUPLES)
def test_every_field_of_a_named_tuple_is_described(package: Any, name: str) -> None:
    fields = [
        field
        for section in package[name].docstring.parsed
        if section.kind.value == "attributes"
        for field in section.value
    ]
    assert [field.name for field in fields] == list(getattr(audiotool, name)._fields)
    assert all(field.annotation for field in fields)
