"""Text from outside: what a terminal would obey is escaped, what no encoding takes too."""

from __future__ import annotations

import json
import os

import pytest

from audiotool.text import composed, csv_cell, encodable, from_csv_cell, one_line, printable, to_json

LATIN_1 = os.fsdecode(b"caf\xe9.wav")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Talk [dQw4].wav", "Talk [dQw4].wav"),
        ("café 日本 \N{GRINNING FACE}.wav", "café 日本 \N{GRINNING FACE}.wav"),
        (LATIN_1, r"caf\xe9.wav"),
        ("a\x1b[31mred\x07.wav", r"a\x1b[31mred\x07.wav"),
        ("a\nb\tc\r\x9b2J\x7f", r"a\nb\tc\r\x9b2J\x7f"),
        ("fdp\u202evaw.exe\u2028", r"fdp\u202evaw.exe\u2028"),
        ("\ud800", r"\ud800"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_encodable_changes_nothing_else() -> None:
    assert encodable(f"{LATIN_1}\n\x1b") == "caf\\xe9.wav\n\x1b"


def test_one_line_keeps_the_spaces_of_a_name() -> None:
    assert one_line(" a  b.wav:\n   broken ") == "a  b.wav: broken"


def test_json_is_valid_and_survives_a_terminal() -> None:
    text = to_json({"file": LATIN_1, "é": "a\x1b\x9b\u202e"})
    text.encode()
    assert not {"\x1b", "\x9b"} & set(text)
    assert json.loads(text) == {"file": r"caf\xe9.wav", "é": "a\x1b\x9b\u202e"}


def test_names_that_look_equal_are_equal() -> None:
    assert composed("cafe\u0301") == composed("caf\u00e9")


@pytest.mark.parametrize(
    "sign", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
)
@pytest.mark.parametrize("apostrophes", ["", "'", "''"])
def test_no_text_in_a_csv_file_is_a_formula(sign: str, apostrophes: str) -> None:
    name = f"{apostrophes}{sign}1+1.wav"
    assert csv_cell(name) == f"'{name}"
    assert from_csv_cell(csv_cell(name)) == name


@pytest.mark.parametrize("value", ["a=b.wav", "'quoted'.wav", "", -1.5, None])
def test_other_cells_stay(value: str | float | None) -> None:
    assert csv_cell(value) == value
    if isinstance(value, str):
        assert from_csv_cell(value) == value
