"""Command lines of child processes that run Python."""

from __future__ import annotations

import os
import sys


def python(code: str, *words: str) -> list[str]:
    """Return the command line that runs code in a Python which finds modules where this one does.

    `python -c` and `python -m` also import what lies in the working folder, whoever has put it there.
    Python 3.10 has no option against that.

    Args:
        code: statements, run when `sys.path` is that of this process.
        words: arguments, in `sys.argv[1:]`.
    """
    folders = [os.path.abspath(folder) for folder in sys.path if isinstance(folder, str)]
    return [sys.executable, "-c", f"import sys\nsys.path[:] = {folders!a}\n{code}", *words]
