"""The one door to the screen: lines to standard error, text and tables to standard output.

Names from outside are never markup, and never obeyed by the terminal. After `speak_json` every line on
standard error is an event for a program (`json_output.line`), those of the log too.
"""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING, Any

from audiotool import json_output
from audiotool.text import one_line, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


WIDEST = 10_000
"""Characters that no table needs."""


_speaks_json = False


def speak_json(asked: bool) -> None:
    """Let standard error be for programs from now on, or for people again."""
    global _speaks_json
    _speaks_json = asked


class LogFormatter(logging.Formatter):
    """The log on standard error: `printable` lines for people, or an event a record for programs."""

    def format(self, record: logging.LogRecord) -> str:
        if not _speaks_json:
            return "\n".join(map(printable, super().format(record).split("\n")))
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return json_output.line("message", level=record.levelname.lower(), text=text)


def say(message: str) -> None:
    """Write one line to standard error."""
    if _speaks_json:
        tell("message", level="info", text=one_line(message))
        return
    sys.stderr.write(f"audiotool: {one_line(message)}\n")
    sys.stderr.flush()


def tell(event: str, **fields: Any) -> None:
    """Write one event to standard error, see `speak_json`."""
    sys.stderr.write(f"{json_output.line(event, **fields)}\n")
    sys.stderr.flush()


def fail(message: str, exit_code: int) -> None:
    """Write why the command comes to nothing."""
    if _speaks_json:
        tell("error", text=one_line(message), exit_code=exit_code)
    else:
        say(message)


def write(text: str) -> None:
    """Write text to standard output. Text from outside is made `printable` before.

    Raises:
        BrokenPipeError: the reader has closed the pipe.
        InputError: it cannot be written, as on a full disk.
    """
    sys.stdout.write(text)
    sys.stdout.flush()


def console(to_stderr: bool = False) -> Console:
    """A rich console that prints text as it is: no markup, no emoji codes, no colours of its own."""
    from rich.console import Console

    file = sys.stderr if to_stderr else sys.stdout
    return Console(file=file, markup=False, emoji=False, highlight=False)


def progress(*columns: Any, **options: Any) -> Any:
    """A rich progress display on standard error, seen on a terminal alone; it leaves nothing behind."""
    from rich.progress import Progress

    options = {"transient": True, "disable": not sys.stderr.isatty(), **options}
    # Data on standard output must not be taken for something to print above the bars.
    return Progress(*columns, console=console(to_stderr=True), redirect_stdout=False, **options)


def table(first: str, *others: str, footer: bool = False) -> Table:
    """A table without lines: the first column to the left, the others to the right, nothing cut."""
    from rich.table import Table

    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", show_footer=footer)
    made.add_column(first, no_wrap=True)
    for name in others:
        made.add_column(name, justify="right", no_wrap=True)
    return made


def show(made: Table, to_stderr: bool = False) -> None:
    """Print a table. Where the screen is too narrow for it its lines are longer than the screen, never cut.

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
    # Not by `capture`, which still touches standard output.
    screen.file = text = io.StringIO()
    screen.print(made)
    lines = "".join(f"{line.rstrip()}\n" for line in text.getvalue().rstrip("\n").split("\n"))
    if to_stderr:
        sys.stderr.write(lines)
    else:
        write(lines)
