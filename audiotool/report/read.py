"""Read a report in one of the formats that hold its rows."""

from __future__ import annotations

from pathlib import Path

from audiotool.errors import InputError
from audiotool.report.csv_table import read_csv
from audiotool.report.json_document import read_json_report
from audiotool.report.report import Report

UNREADABLE = (".html", ".md")
"""Endings of reports that are for people alone."""


def check_readable(path: Path) -> None:
    """Check the name of a report that is to be read.

    Raises:
        InputError: a report with this ending cannot be read.
    """
    if path.suffix.lower() in UNREADABLE:
        raise InputError(f"{path}: a report is read from .json or .csv")


def read_report(path: Path) -> Report:
    """Read a report that `write_reports` wrote: CSV if the file's name ends in .csv, else JSON.

    Raises:
        InputError: the file cannot be read, or is no report.
    """
    check_readable(path)
    return read_csv(path) if path.suffix.lower() == ".csv" else read_json_report(path)
