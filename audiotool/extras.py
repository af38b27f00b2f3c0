"""Optional packages: each is named with the extra that brings it, in one line, where it is missing."""

from __future__ import annotations

import importlib.util

from audiotool.errors import DependencyError

DISTRIBUTION = "audiotool-speech"


def install(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def is_there(module: str) -> bool:
    """Whether a module can be found; nothing is imported."""
    return importlib.util.find_spec(module) is not None


def require(module: str, extra: str, purpose: str) -> None:
    """Refuse to go on without a module.

    Args:
        purpose: what needs it, the beginning of the message.
    Raises:
        DependencyError: it is not installed; names the command.
    """
    if not is_there(module):
        raise DependencyError(f"{purpose} needs {module}, which is not installed: {install(extra)}")
