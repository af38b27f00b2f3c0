"""The child process that runs `mapss-measures`, in the interpreter of an environment that has it.

It runs as a file in an environment without this project, so it imports nothing of it. Requests on
stdin are lines of JSON: {"references": [WAV, ...], "estimates": [WAV, ...]} in one order, or {} for a
greeting. Answers on stdout, a line each: {"step_s": 0.02, "ps": [...], "pm": [...]} with {"value": mean,
"frames": [...]} of each stem, null for frames without a score; {"version": "1.1.2"}; or {"error": "..."}. The
end of stdin ends it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

PACKAGE = "mapss-measures"


def serve() -> None:
    """Answer requests until stdin ends."""
    # Ctrl-C reaches the whole process group. The parent decides whether it ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        try:
            answer = _answer(json.loads(line))
        except ImportError as error:
            answer = {"error": f"MAPSS: {sys.executable} lacks {error.name}: pip install {PACKAGE} there"}
        except Exception as error:
            answer = {"error": f"MAPSS: {' '.join(str(error).split()) or type(error).__name__}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from importlib.metadata import version

    if not request:
        return {"version": version(PACKAGE)}
    from mapss import mapss

    result = mapss(reference=request["references"], output=request["estimates"], add_ci=False)
    times_s = result.ps["timestamp_ms"].to_numpy() / 1000
    step_s = float(times_s[1] - times_s[0]) if len(times_s) > 1 else 0.0
    return {"step_s": step_s, "ps": _stems(result, "ps"), "pm": _stems(result, "pm")}


def _stems(result: Any, measure: str) -> list[dict[str, Any]]:
    table, means = getattr(result, measure), result.summary[measure]
    return [
        {
            "value": float(means[name]),
            "frames": [None if value != value else float(value) for value in table[name]],
        }
        for name in result.source_names
    ]


if __name__ == "__main__":
    serve()
