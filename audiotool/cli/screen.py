"""Output of all commands: lines on standard error, text and tables on standard output.

Names from outside are never taken for markup or for control sequences of the terminal. After
`use_json_events` every line on standard error is an event for programs (`json_output.line`), also those of
the log.
"""

from __future__ import annotations

import codecs
import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from audiotool import json_output, stdio
from audiotool.progress import Progress
from audiotool.text import in_ascii, one_line, printable_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


WIDEST = 10_000
"""Width in characters that no table reaches."""


_json_events = False


def use_json_events(enabled: bool) -> None:
    """Write events on standard error from now on, or plain lines."""
    global _json_events
    _json_events = enabled


def writes_json_events() -> bool:
    """Return whether standard error takes events."""
    return _json_events


class LogFormatter(logging.Formatter):
    """Formats records of the log as `printable` lines or as events."""

    def format(self, record: logging.LogRecord) -> str:
        if not _json_events:
            return printable_lines(super().format(record))
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        event = json_output.line("message", level=record.levelname.lower(), text=text)
        return _json_for(sys.stderr, event)


def say(message: str) -> None:
    """Write one line to standard error."""
    if _json_events:
        emit("message", level="info", text=one_line(message))
        return
    sys.stderr.write(f"audiotool: {one_line(message)}\n")
    sys.stderr.flush()


def emit(event: str, **fields: Any) -> None:
    """Write one event on standard error, see `use_json_events`."""
    line = _json_for(sys.stderr, json_output.line(event, **fields))
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def fail(message: str, exit_code: int) -> None:
    """Write the error that ends the command on standard error."""
    if _json_events:
        emit("error", text=one_line(message), exit_code=exit_code)
    else:
        say(message)


def write(text: str, is_json: bool = False) -> None:
    """Write text to standard output. Text from outside is made `printable` before.

    Args:
        is_json: the text is a document of JSON.
    Raises:
        BrokenPipeError: the reader has closed the pipe.
        InputError: it cannot be written, as on a full disk.
    """
    stream = stdio.output()
    stream.write(_json_for(stream, text) if is_json else text)
    stream.flush()


def write_document(command: str, **fields: Any) -> None:
    """Print the result of a command as a JSON document, see `docs/reference/json.md`.

    Raises:
        BrokenPipeError, InputError: as `write`.
    """
    write(json_output.document(command, **fields), is_json=True)


def console(to_stderr: bool = False) -> Console:
    """Return a rich console that prints text as it is: no markup, no emoji codes, no highlighting."""
    from rich.console import Console

    file = sys.stderr if to_stderr else stdio.output()
    return Console(file=file, markup=False, emoji=False, highlight=False)


def progress(*columns: Any, quiet: bool = False, **options: Any) -> Any:
    """Return a rich progress display on standard error, which shows on a terminal only, and not where
    `quiet`, and is erased at the end."""
    from rich.progress import Progress

    options = {"transient": True, "disable": quiet or not sys.stderr.isatty(), **options}
    # rich would print data of standard output above the bars.
    return Progress(*columns, console=console(to_stderr=True), redirect_stdout=False, **options)


@contextmanager
def counting(verb: str) -> Iterator[Progress]:
    """Show a bar on standard error if it is a terminal."""
    with progress() as bar:
        task = bar.add_task(verb, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def table(first: str, *others: str, footer: bool = False) -> Table:
    """Return a table without lines: the first column left-aligned, the others right-aligned, nothing cut."""
    from rich.table import Table

    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", show_footer=footer)
    made.add_column(first, no_wrap=True)
    for name in others:
        made.add_column(name, justify="right", no_wrap=True)
    return made


def show(made: Table, to_stderr: bool = False) -> None:
    """Print a table. On a narrow screen its lines are longer than the screen, never cut.

    Raises:
        BrokenPipeError, InputError: as `write`.
    """
    from rich.cells import cell_len
    from rich.measure import Measurement

    for column in made.columns:
        if column.no_wrap:
            cells = (column.header, column.footer, *column.cells)
            column.min_width = max(cell_len(line) for cell in cells for line in str(cell).split("\n"))
    screen = console(to_stderr)
    screen.width = max(
        screen.width, Measurement.get(screen, screen.options.update_width(WIDEST), made).minimum
    )
    # `capture` would still touch standard output.
    screen.file = text = io.StringIO()
    screen.print(made)
    lines = "".join(f"{line.rstrip()}\n" for line in text.getvalue().rstrip("\n").split("\n"))
    if to_stderr:
        sys.stderr.write(lines)
    else:
        write(lines)


def _json_for(stream: TextIO, document: str) -> str:
    """Return JSON that is UTF-8, as programs read it, whatever the encoding of the stream: else in ASCII."""
    encoding = codecs.lookup(stream.encoding or "utf-8").name
    return document if encoding == "utf-8" else in_ascii(document)
