"""The child process that runs PESQ's C code, which can take its process down with it.

Requests on stdin: `HEADER` (sample rate, samples), then reference and degraded signal as float32. The score
is wide-band at 16 kHz, narrow-band at 8 kHz. Answers on stdout, one JSON line each: {"score": 3.2},
{"silent": true} when the reference holds no utterance, or {"error": "..."}. The end of stdin ends it.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from typing import Any

HEADER = struct.Struct("<II")

NOT_FINITE = "PESQ gives no finite score"


def serve() -> None:
    """Answer requests until stdin ends."""
    # Ctrl-C reaches the whole process group. The parent decides whether it ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests = sys.stdin.buffer
    # Whatever the C code prints must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    while len(head := requests.read(HEADER.size)) == HEADER.size:
        sample_rate, length = HEADER.unpack(head)
        body = requests.read(8 * length)
        answers.write(json.dumps(_score(sample_rate, body)) + "\n")
        answers.flush()


def _score(sample_rate: int, body: bytes) -> dict[str, Any]:
    import numpy as np
    from pesq import BufferTooShortError, NoUtterancesError, pesq

    reference, degraded = np.frombuffer(body, dtype="<f4").reshape(2, -1)
    mode = "wb" if sample_rate == 16000 else "nb"
    try:
        score = float(pesq(sample_rate, reference, degraded, mode))
    except BufferTooShortError:
        return {"error": "shorter than PESQ's quarter of a second"}
    except NoUtterancesError:
        return {"silent": True}
    except Exception as error:
        # Sums of huge samples are infinite, which PESQ notices late.
        return {"error": NOT_FINITE if "NaN" in str(error) else f"PESQ: {error}"}
    return {"score": score} if np.isfinite(score) else {"error": NOT_FINITE}
