"""What HTML reports hold."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any


def blocks(page: str) -> list[Any]:
    """The data of a page's rows."""
    found = re.findall(r'<script type="application/json" id="m\d+">(.*?)</script>', Path(page).read_text())
    return [json.loads(text) for text in found]
