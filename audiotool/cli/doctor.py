"""`audiotool doctor`: check the installation and name the command that repairs it."""

from __future__ import annotations

import dataclasses
import sys

import typer

from audiotool.cli.screen import say, write, write_document
from audiotool.tasks.options import AsJson
from audiotool.text import one_line

app = typer.Typer(add_completion=False)

MARKS = {"ok": "ok", "note": "note", "problem": "PROBLEM"}


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check the installation: Python, packages, torch with torchaudio, formats, devices, checkpoints.

    The exit code is 1 when something does not fit; the command that mends it is printed.
    """
    from audiotool.doctor import diagnose

    if sys.stderr.isatty():
        say("each package is tried …")
    findings = diagnose()
    if as_json:
        write_document("doctor", findings=[dataclasses.asdict(f) for f in findings])
    else:
        for finding in findings:
            write(f"{MARKS[finding.status]:<8} {finding.what}: {one_line(finding.detail)}\n")
            if finding.fix:
                write(f"{'':<8} fix: {one_line(finding.fix)}\n")
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(1)
