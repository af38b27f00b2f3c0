"""Text from outside: what a terminal would obey is escaped, what no encoding takes too."""

from __future__ import annotations

import json
import os
import time

import pytest

from audiotool.errors import AudiotoolError
from audiotool.text import (
    closest,
    composed,
    csv_cell,
    encodable,
    from_csv_cell,
    in_ascii,
    one_line,
    printable,
    to_json,
    without_credentials,
)

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
    text = to_json({"file": LATIN_1, "é": "a\x1b\x7f\x9b\u202e"})
    text.encode()
    assert text.isprintable()
    assert json.loads(text) == {"file": r"caf\xe9.wav", "é": "a\x1b\x7f\x9b\u202e"}


def test_json_in_ascii_has_the_same_values() -> None:
    value = {"é日\U0001f600": "→\u2028\\é\n"}
    text = in_ascii(to_json(value))
    assert text.isascii()
    assert json.loads(text) == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://jane:hunter2@host:80/a.wav", "http://host:80/a.wav"),
        ("sftp://key@host/a@b.wav", "sftp://host/a@b.wav"),
        ("--output=s3://key:pass@word@bucket/x", "--output=s3://bucket/x"),
        ("HTTPS://host/a.wav?X-Amz-Signature=1%2F2&id=3: gone", "HTTPS://host/a.wav: gone"),
        ("401, url='https://host/a.wav?token=1'", "401, url='https://host/a.wav'"),
        ("http:/jane:hunter2@host/a.wav", "http:/host/a.wav"),
        ("s3://bucket/who?=1.wav", "s3://bucket/who?=1.wav"),
        ("C:/jane:1@2/a.wav", "C:/jane:1@2/a.wav"),
        ("odd/day1:/john@home/x.wav", "odd/day1:/john@home/x.wav"),
        ("abfss://calls@acme.dfs.core.windows.net/a.wav", "abfss://calls@acme.dfs.core.windows.net/a.wav"),
        ("abfs://jane:hunter2@host/a.wav", "abfs://host/a.wav"),
        ("a/jane@home.wav", "a/jane@home.wav"),
    ],
)
def test_credentials_of_urls_are_left_out_of_all_that_is_shown(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
    assert printable(text) == shown
    assert one_line(f" {text} ") == shown
    assert str(AudiotoolError(text)) == shown
    assert json.loads(to_json({text: [(text, 1)], "none": None})) == {shown: [[shown, 1]], "none": None}


@pytest.mark.parametrize("repeated", ["a.", "http://", "https://host/?", "a:/", "?:'", "://@", " ", " \r"])
def test_long_text_takes_no_long_time(repeated: str) -> None:
    text = "http://host/" + 20_000 * repeated + "end\n"
    begin = time.process_time()
    without_credentials(text)
    one_line(text)
    assert time.process_time() - begin < 2  # time that grows with the square: 6 s and more


def test_json_stays_whole_where_a_quoted_url_loses_its_query() -> None:
    found = json.loads(to_json(['got "https://h/a?token=1" and\nhttps://h/b?token=1\nmore']))
    assert found == ['got "https://h/a" and\nhttps://h/b\nmore']


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


@pytest.mark.parametrize(
    ("word", "allowed", "close"),
    [
        ("Denois", ["bench", "denoise"], "denoise"),
        ("wax", ["flac", "wav"], "wav"),
        ("eval", ["evaluate", "live"], "evaluate"),
        ("hop_size", ["power", "hop_length"], "hop_length"),
        ("super", ["serve", "super-resolve"], "super-resolve"),
        ("record", ["recipes", "report"], None),
        ("import", ["plot", "report"], None),
        ("", ["report"], None),
    ],
)
def test_the_closest_word_is_near_or_begins_alike(word: str, allowed: list[str], close: str | None) -> None:
    assert closest(word, allowed) == close
