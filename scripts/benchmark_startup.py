"""What the command costs before and around the network: processor time and memory of whole processes.

    python scripts/benchmark_startup.py [recording.wav]

Each line is the least of several runs, beside a Python that does nothing and beside the import of onnxruntime
and numpy, the least that any program of this kind can cost.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

DEMO = Path(__file__).parents[1] / "tests" / "data" / "audio" / "demo" / "noisy.flac"


def cost(words: list[str], runs: int) -> tuple[float, float]:
    """Processor seconds and peak memory in MB of a Python process, the least of each."""
    seconds, memory = [], []
    for _ in range(runs):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([sys.executable, *words], **quiet)  # type: ignore[call-overload]
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{' '.join(words)} failed")
        seconds.append(usage.ru_utime + usage.ru_stime)
        memory.append(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6)
    return min(seconds), min(memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recording", nargs="?", default=str(DEMO))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--torch", action="store_true", help="also with --engine torch")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        denoise = ["-m", "audiotool", "denoise", options.recording, "-o", f"{folder}/out.wav", "--overwrite"]
        commands = {
            "python -c pass": ["-c", "pass"],
            "import numpy, onnxruntime": ["-c", "import numpy, onnxruntime"],
            "audiotool --help": ["-m", "audiotool", "--help"],
            "audiotool models list": ["-m", "audiotool", "models", "list"],
            "audiotool denoise": denoise,
        }
        if options.torch:
            commands["audiotool denoise --engine torch"] = [*denoise, "--engine", "torch"]
        base = None
        print(
            "| process | processor time, s | of the import | peak memory, MB |\n| --- | ---: | ---: | ---: |"
        )
        for name, words in commands.items():
            seconds, memory = cost(words, options.runs)
            base = seconds if name.startswith("import") else base
            ratio = "" if base is None else f"{seconds / base:.2f}"
            print(f"| `{name}` | {seconds:.2f} | {ratio} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
