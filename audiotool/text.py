"""Text from outside (names of files, tags, messages of libraries), prepared for display and for files; and
what a misspelt name may have been meant as.

Python keeps the bytes of a name that is not UTF-8 as lone surrogates, which cannot be encoded. A name may
also hold control characters of a terminal, be a formula to a spreadsheet, or be a URL with a password. All
text on the screen and in pages goes through `printable`, all JSON through `to_json`, names in CSV files
through `csv_cell`, which keeps control characters, because programs look up files by these names. The first
two, and the messages of audiotool's errors, leave out the credentials of URLs: what is shown or written of a
URL needs no further care.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

# Control characters, separators of lines, marks and changes of the writing direction, characters without
# width (except the joiners that some scripts need), halves of surrogate pairs. `str.isprintable` is False for
# each of them. Compiled where they are needed, which most runs never do.
_UNPRINTABLE = (
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    r"\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_SURROGATES = "[\ud800-\udfff]"
# Spreadsheets take the full-width forms for the same signs.
_FORMULA = "'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
# The time of these patterns grows with the text's length, not with its square: none tries a place twice.
# A drive's letter is no scheme. What stands before the account of an Azure URL is a container.
_CONTAINER = r"(?i:(?<=\babfss://)|(?<=\babfs://)|(?<=\baz://))[^/\s:@]*@"
_USER = rf"(?:(?<=[A-Za-z0-9+.-]{{2}}://)|(?i:(?<=\bhttp:/)|(?<=\bhttps:/)))(?!{_CONTAINER})[^/\s]*@"
# In other stores than the web a question mark is a part of a name.
_WEB = r"\b(?i:https?):/\S*"
_QUERY = r"\?[^'\">]*[^'\">:,;)]"
_BREAK = r"(?<!\s)\s*[\r\n]\s*"


def without_credentials(text: str) -> str:
    """Return a text without the user and password of each URL in it, and without its query, which may hold a
    signature or a token."""
    if ":/" not in text:
        return text
    return re.sub(_WEB, lambda word: re.sub(_QUERY, "", word.group()), re.sub(_USER, "", text))


def without_those_of(url: str, text: str) -> str:
    """Return a text `without_credentials`, in which those of one URL may stand by themselves, as in the
    messages of libraries."""
    from urllib.parse import unquote

    user = re.search(_USER, url)
    query = re.search(_QUERY, url) if re.match(_WEB, url) else None
    password = user[0][:-1].partition(":")[2] if user else ""
    for secret in filter(None, (user and user[0], query and query[0], password, unquote(password))):
        text = text.replace(secret, "")
    return without_credentials(text)


def printable(text: str) -> str:
    r"""Return the text with everything escaped that controls a terminal or cannot be encoded, and without the
    credentials of URLs.

    A byte that was not UTF-8 is shown as that byte: "caf\xe9.wav".
    """
    text = without_credentials(text)
    return text if text.isprintable() else re.sub(_UNPRINTABLE, _escaped, text)


def printable_lines(text: str) -> str:
    """Return the text `printable`, but for its line breaks."""
    return "\n".join(map(printable, text.split("\n")))


def encodable(text: str) -> str:
    """Return the text with the bytes escaped that are not UTF-8."""
    return re.sub(_SURROGATES, _escaped, text)


def one_line(text: str) -> str:
    """Return the text without line breaks, `printable`; spaces inside a line stay."""
    return printable(unbroken(text.strip()))


def unbroken(text: str) -> str:
    """Return the text with a space in place of each line break and the spaces around it."""
    return text if text.isprintable() else re.sub(_BREAK, " ", text)


def to_json(value: Any, **layout: Any) -> str:
    """Return values as JSON that every parser accepts, that does not control a terminal, and that has no
    credentials of URLs.

    Args:
        layout: arguments of `json.dumps`.
    """
    document = json.dumps(_without_credentials(value), ensure_ascii=False, **layout)
    # Inside of JSON the backslash of an escaped byte is itself escaped.
    document = re.sub(_SURROGATES, lambda found: "\\" + _escaped(found), document)
    if document.isprintable():
        return document
    # The one control character that `json` takes for printable ASCII.
    document = document.replace("\x7f", r"\u007f")
    # A line break is layout: those of the texts are escaped already.
    return re.sub(
        _UNPRINTABLE,
        lambda found: found.group() if found.group() == "\n" else in_ascii(found.group()),
        document,
    )


def in_ascii(document: str) -> str:
    """Return JSON with every character escaped that is not ASCII: the same values in any encoding."""
    return re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found.group())[1:-1], document)


def csv_cell(value: Any) -> Any:
    """Return a value for a cell of a CSV file; text that spreadsheets take for a formula gets an apostrophe.

    Numbers are returned as they are. `from_csv_cell` returns the original text. Source: OWASP, CSV Injection.
    """
    return f"'{value}" if isinstance(value, str) and re.match(_FORMULA, value) else value


def from_csv_cell(cell: str) -> str:
    """Return the original text of a cell of `csv_cell`."""
    return cell[1:] if cell.startswith("'") and re.match(_FORMULA, cell) else cell


def listed(names: Sequence[str]) -> str:
    """Return the first three names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def closest(word: str, allowed: list[str]) -> str | None:
    """Return the allowed word that is most like a misspelt one, None if none is.

    Upper and lower case do not count. At least seven tenths of a word have to be right, or half of one that
    begins with the same four letters.
    """
    word, folded = word.lower(), {name.lower(): name for name in reversed(allowed)}
    begun = [name for name in folded if name.startswith(word[:4])]
    # A wrong letter is a third of a word of three.
    cutoff = 0.7 if len(word) > 3 else 0.65
    found = difflib.get_close_matches(word, folded, n=1, cutoff=cutoff)
    found = found or difflib.get_close_matches(word, begun, n=1, cutoff=0.5)
    return folded[found[0]] if found else None


def nearest(word: str, allowed: list[str]) -> str:
    """Return the end of a message: `"; did you mean 'x'?"` with the closest allowed word, or `"."`."""
    found = closest(word, allowed)
    return "." if found is None else f"; did you mean '{found}'?"


def composed(name: str) -> str:
    """Return the name in Unicode's composed form (NFC), in which names that look equal are equal."""
    return unicodedata.normalize("NFC", name)


def _without_credentials(value: Any) -> Any:
    """Return a value for JSON with all its texts `without_credentials`."""
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, dict):
        return {_without_credentials(name): _without_credentials(item) for name, item in value.items()}
    return list(map(_without_credentials, value)) if isinstance(value, (list, tuple)) else value


def _escaped(found: re.Match[str]) -> str:
    sign = found.group()
    if "\udc80" <= sign <= "\udcff":
        sign = chr(ord(sign) - 0xDC00)
    return sign.encode("unicode_escape").decode()
