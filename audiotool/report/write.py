"""Write a report in one or several formats, given by the files' endings."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from audiotool.atomic import write_text
from audiotool.errors import InputError
from audiotool.report.csv_table import to_csv
from audiotool.report.gallery import Sound
from audiotool.report.json_document import to_json
from audiotool.report.markdown_table import to_markdown
from audiotool.report.page import write_page
from audiotool.report.report import Report
from audiotool.writable import check_outputs

PAGE = ".html"
TEXTS: dict[str, Callable[[Report], str]] = {".json": to_json, ".csv": to_csv, ".md": to_markdown}
FORMATS = (*TEXTS, PAGE)

BEGINNINGS = {
    ".json": rb'\{\n  "schema": \d+,\n  "audiotool": "[^"\n]*",\n  "command": "[^"\n]*",\n  "run": \{',
    ".csv": rb"file,(.*,)?reasons,notes\n",
    ".md": rb"# audiotool report: (\d+ files?|\d+ of \d+ files, interrupted)\n",
    PAGE: rb'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
    rb'<meta http-equiv="Content-Security-Policy" content="default-src &#x27;none&#x27;; script-src ',
}
"""How a report of each format begins, by which it is told from other files."""
LONGEST_BEGINNING = 1 << 16
"""Number of bytes in which the beginning is; the first line of a CSV names all columns."""


def is_report(path: Path) -> bool:
    """Return whether a file is empty, or begins as the reports of its ending do; False if it cannot be read.

    No more of it is read, so that a report of a million rows costs no time.
    """
    try:
        with path.open("rb") as file:
            head = file.read(LONGEST_BEGINNING)
    except OSError:
        return False
    beginning = BEGINNINGS.get(path.suffix.lower())
    return not head or (beginning is not None and re.match(beginning, head) is not None)


def check_paths(paths: Sequence[Path]) -> None:
    """Check the paths of reports before any work is done.

    Raises:
        InputError: a path has none of the endings of `FORMATS`, is given twice, or cannot be written.
    """
    check_outputs(paths, FORMATS, "report")


def write_reports(paths: Sequence[Path], report: Report, sound: Sound | None = None) -> None:
    """Write the report to each path, completely or not at all.

    Args:
        sound: where the sound of a page is; its pictures are the rows' `media`.
    Raises:
        InputError: paths have other endings, or cannot be written, and all are named. Every other report is
            written before.
    """
    failed: list[InputError] = []
    for path in paths:
        ending = path.suffix.lower()
        try:
            check_paths([path])
            if ending == PAGE:
                write_page(path, report, sound or "none")
            else:
                write_text(path, TEXTS[ending](report))
        except InputError as error:
            failed.append(error)
    if failed:
        raise InputError("; ".join(map(str, failed)))
