"""HTML elements. All text that is not `Markup` is escaped, so that text from outside cannot change the page.

element("td", name, title=path)     name and path are text from outside
"""

from __future__ import annotations

import html
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from audiotool.paths import path_from
from audiotool.text import printable, to_json, unbroken

VOID = {"meta", "input"}


class Markup(str):
    """HTML text, which is not escaped again."""


def shown(value: object) -> Markup:
    """Return text from outside on one line, with invisible characters and changes of the writing direction
    escaped."""
    return value if isinstance(value, Markup) else Markup(html.escape(_on_one_line(value)))


def element(tag: str, *content: object, **attributes: object) -> Markup:
    """Return an element.

    Args:
        content: markup, or text, which is escaped.
        attributes: `class_` is class, `data_v` data-v. True is an attribute without value; None and False are
            left out.
    """
    named = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in VOID:
        return Markup(f"<{tag}{named}>")
    return Markup(f"<{tag}{named}>{joined(*content)}</{tag}>")


def joined(*content: object) -> Markup:
    """Join markup."""
    return Markup("".join(map(shown, content)))


def data_block(identity: str, value: Any) -> Markup:
    """Return a script element with JSON, in which no text can end the element."""
    text = to_json(value, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(f'<script type="application/json" id="{html.escape(identity)}">{text}</script>\n')


def relative_url(path: Path, folder: Path) -> str:
    """Return the relative URL of a file from a page in a folder, percent-encoded."""
    there = path_from(folder, path)
    if there.is_absolute():
        return there.as_uri()
    # A first part with a colon would be read as a scheme, but colons are encoded.
    return quote(os.fsencode(there.as_posix()), safe="/")


def _on_one_line(value: object) -> str:
    """Return `text.one_line`, with spaces at the ends kept, since the text may be joined."""
    return printable(unbroken(str(value)))


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(_on_one_line(value))}"'
