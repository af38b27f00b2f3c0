"""What the commands say of themselves in their reports."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiotool.report.report import Run


def begin(**facts: Any) -> Run:
    """The run that was typed; `facts` are fields of `Run`."""
    from audiotool.report.report import Run

    return Run.begin(shlex.join(["audiotool", *sys.argv[1:]]), **facts)
