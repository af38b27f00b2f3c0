"""Errors of scripts as commands have them: one line, and no traceback of what a user can mend."""

from __future__ import annotations

import sys
from collections.abc import Callable

from audiotool.errors import AudiotoolError
from audiotool.text import one_line


def run_script(main: Callable[[], None]) -> None:
    """Run a script's `main`; end with a line on standard error where a file, a name or a value is wrong."""
    try:
        main()
    except AudiotoolError as error:
        sys.exit(f"error: {one_line(str(error))}")
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        sys.exit(f"error: {one_line(reason)}")
