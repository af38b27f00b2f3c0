"""The pages of the documentation, and the shell commands on them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("checkpoints/*.md")])
]
"""By path in the repository."""

BLOCK = re.compile(r"^```[ \t]*(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELLS = ("sh", "console", "bash", "")


def shell_lines(page: str) -> list[str]:
    """The lines of a page's shell blocks; a line that ends in a backslash goes on in the next."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = [block.replace("\\\n", " ") for language, block in BLOCK.findall(text) if language in SHELLS]
    return [line for block in blocks for line in block.splitlines()]
