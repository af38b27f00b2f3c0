"""YAML and JSON that would keep a computer busy, or that no program expects: one sentence, at once."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from audiotool import yaml_documents
from audiotool.documents import MAX_BYTES, MAX_DEPTH, DocumentError, read_json, read_text
from audiotool.errors import CheckpointError, RecipeError
from audiotool.importers.base import read_config
from audiotool.recipe.load import load
from audiotool.value_types import quote
from audiotool.yaml_documents import parse_settings, read_yaml, yaml_text

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
MERGES = "m0: &m0 {k: 1}\n" + "".join(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 40))

YAML = {
    "a template": ("name: {{ name }}", "a key is text, found a list or a mapping"),
    "a list as key": ("{[a]: b}", "a key is text"),
    "an explicit key": ("? [a, b]\n: c", "a key is text"),
    "no integer": ("train: !!int x", "not of its type"),
    "no float": ("train: !!float x", "not of its type"),
    "no truth": ("train: !!bool x", "not of its type"),
    "an enormous integer": ("train: " + "9" * 5000, "an integer has at most 64 bits"),
    "an enormous hexadecimal": ("train: 0x" + "f" * 20_000, "an integer has at most 64 bits"),
    "a set": ("!!set {a}", "could not determine a constructor"),
    "bytes": ("!!binary aGk=", "could not determine a constructor"),
    "lists in lists": ("a: " + "[" * 900 + "]" * 900, f"more than {MAX_DEPTH} levels"),
    "mappings in mappings": ("{a: " * 900 + "1" + "}" * 900, f"more than {MAX_DEPTH} levels"),
    "blocks in blocks": ("- " * 900 + "1", f"more than {MAX_DEPTH} levels"),
    "laughs": (LAUGHS, "aliases make more than"),
    "laughs in a name": (LAUGHS + "name: *a39\ntask: denoise\n", "aliases make more than"),
    "merges": (MERGES, "aliases make more than"),
    "itself": ("&a [*a]", "aliases make more than"),
    "a chain": ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 900)), "aliases"),
    "two documents": ("a: 1\n---\nb: 2\n", "found another document"),
    "an object": ("a: !!python/object/apply:os.system [x]", "could not determine a constructor"),
    "a zero byte": ("a: \0", "special characters are not allowed"),
    "a tab": ("a:\n\t- b", "cannot start any token"),
}


@pytest.mark.parametrize("kind", YAML)
def test_yaml(tmp_path: Path, kind: str) -> None:
    text, message = YAML[kind]
    with pytest.raises(DocumentError, match=message):
        read_yaml(text)
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=rf"mine\.yaml.*: not valid YAML: .*{message}"):
        load(path)
    with pytest.raises(CheckpointError, match="not valid YAML"):
        read_config(path)
    if "\n" not in text:
        with pytest.raises(RecipeError, match="--set name="):
            parse_settings([f"name={text}"])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a: 2e-4", {"a": 2e-4}),
        ("[010, 0o10, 0x1f, -7, +7, 08, 1_000]", [10, 8, 31, -7, 7, 8, 1000]),
        ("[1., .5, -1.5e+3, 1E3, 1_000.5]", [1.0, 0.5, -1500.0, 1000.0, 1000.5]),
        ("[.inf, -.INF]", [math.inf, -math.inf]),
        ("[1:20, 1:20.5, 0b1, -0x1, 0o8, ., 1e]", ["1:20", "1:20.5", "0b1", "-0x1", "0o8", ".", "1e"]),
        (f"{(1 << 64) - 1}", (1 << 64) - 1),
        (":".join(["1"] * 30_000), ":".join(["1"] * 30_000)),
        ("a: 2024-02-30", {"a": "2024-02-30"}),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
        ("a: [&x 1, *x]", {"a": [1, 1]}),
        ("", None),
    ],
)
def test_plain_values(text: str, values: Any) -> None:
    assert read_yaml(text) == values


def test_written_values_are_read_as_the_same() -> None:
    texts = ["1e5", "1e-5", "+1e3", "0o10", "010", "1:20", "yes", "2024-02-30", "~", "-", "a: b", "é"]
    values = {"texts": texts, "numbers": [1e-5, 1e5, 1e22, 8, -0.5, float("inf")], "1e5": [True, None, {}]}
    assert read_yaml(yaml_text(values)) == values


@pytest.mark.parametrize("text", ["1" * 50_000 + "x", "-." + "1" * 50_000 + "x", "1_" * 25_000 + ".x"])
def test_text_of_many_digits_takes_no_time(text: str) -> None:
    """Milliseconds of the processor, in place of half a minute."""
    before = time.process_time()
    assert read_yaml(text) == text
    assert time.process_time() - before < 2


def test_values_are_counted_while_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_documents, "MAX_VALUES", 100)
    assert len(read_yaml("[" + "1, " * 99 + "]")) == 99
    with pytest.raises(DocumentError, match="more than 100 values"):
        read_yaml("[" + "1, " * 100 + "and no end")


def test_a_key_that_is_there_twice() -> None:
    with pytest.raises(DocumentError, match="'a' is there twice") as caught:
        read_yaml("a: 1\na: 2")
    assert caught.value.line == 2
    assert read_yaml("a: 1\na: 2", unique_keys=False) == {"a": 2}


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000, "[" * 60 + "]" * 60, "9" * 5000, "{'a': 1}"])
def test_json(tmp_path: Path, text: str) -> None:
    with pytest.raises(DocumentError):
        read_json(text)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(CheckpointError, match="not valid JSON"):
        read_config(tmp_path / "a.json")


def test_text(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: ä", encoding="utf-8-sig")
    assert read_text(path) == "a: ä"
    for encoding, message in [("utf-16", "UTF-16: save it as UTF-8"), ("latin-1", "save it as UTF-8")]:
        path.write_text("a: ä", encoding=encoding)
        with pytest.raises(DocumentError, match=message):
            read_text(path)
    with pytest.raises(DocumentError, match="directory"):
        read_text(tmp_path)


def test_recipes_are_of_limited_size(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("#" * (MAX_BYTES + 1))
    with pytest.raises(RecipeError, match=r"a\.yaml: cannot be read: it has 16000001 bytes"):
        load(path)


def test_integers_of_any_length_are_quoted() -> None:
    assert quote(1 << 20_000) == "an integer of 20001 bits"
    assert quote(-(10**3000)).startswith("-1000")
