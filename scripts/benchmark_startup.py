"""The overhead of the command around the network: processor time and memory of whole processes.

    python scripts/benchmark_startup.py [recording.wav]

The commands run in turn, in several rounds, beside a Python that does nothing and beside the import of
onnxruntime and numpy, the least that any program of this kind can cost. Each line has the least time and
memory of all rounds, and the median of the rounds' ratios to the import of the same round: what else the
machine does slows both alike. The recording is the demo's first 5 s, unless one is given. With --memory,
peaks of a recording of 10 minutes, one of 48 kHz in stereo and one of 32 channels follow.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from plain_errors import run_script

DEMO = Path(__file__).parents[1] / "tests" / "data" / "audio" / "demo" / "noisy.flac"
SECONDS = 5

LARGE = {
    "10 minutes": (600, 16000, 1),
    "a minute of 48 kHz in stereo": (60, 48000, 2),
    "20 s of 32 channels": (20, 16000, 32),
}
"""Seconds, Hz and channels of the recordings of `--memory`."""


@dataclass(frozen=True)
class Bar:
    """Limits of a process: processor seconds, the ratio to the import of numpy and onnxruntime, MB.

    None is no limit.
    """

    seconds: float | None = None
    imports: float | None = None
    memory: float | None = None

    def verdict_of(self, seconds: float, imports: float, memory: float) -> str:
        """Return the limits, and whether they hold."""
        limits = [
            (self.imports, imports, "times"),
            (self.seconds, seconds, "s"),
            (self.memory, memory, "MB"),
        ]
        return ", ".join(
            f"{bar:g} {unit}: {'pass' if value <= bar else 'FAIL'}" for bar, value, unit in limits if bar
        )


BARS = {
    "audiotool --help": Bar(0.5),
    "audiotool models list": Bar(0.5),
    "audiotool denoise": Bar(0.6, 2.2, 120),
    "10 minutes": Bar(memory=150),
    "a minute of 48 kHz in stereo": Bar(memory=180),
    "20 s of 32 channels": Bar(memory=400),
}
"""Bars by the name of a line; seconds are those of a quiet machine."""


IMPORT = "import numpy, onnxruntime"

ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT |= {"ORT_DISABLE_TELEMETRY": "1"}
"""Modules are compiled once, as those of an installed package are; onnxruntime is as audiotool imports it."""


def cost(words: list[str]) -> tuple[float, float]:
    """Return the processor seconds and the peak memory in MB of a Python process."""
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(words)} failed")
    memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    return usage.ru_utime + usage.ru_stime, memory


def costs(commands: dict[str, list[str]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return the costs of each command, one a round. The first round, which compiles modules, is left out."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for n in range(rounds + 1):
        for name, words in commands.items():
            measured = cost(words)
            if n:
                found[name].append(measured)
    return found


def make(path: Path, seconds: int, rate: int, channels: int) -> str:
    """Write the demo recording again and again, into all channels."""
    samples, _ = soundfile.read(DEMO, dtype="int16")
    with soundfile.SoundFile(path, "w", rate, channels) as file:
        for _ in range(seconds):
            file.write(np.repeat(np.resize(samples, rate)[:, None], channels, axis=1))
    return str(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recording", nargs="?")
    parser.add_argument("--runs", type=int, default=5, help="rounds")
    parser.add_argument("--torch", action="store_true", help="also with --engine torch")
    parser.add_argument("--memory", action="store_true", help="also with large recordings, once each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples, rate = soundfile.read(DEMO, frames=SECONDS * 16000)
        soundfile.write(f"{folder}/short.wav", samples, rate)
        words = ["-m", "audiotool", "denoise", "-o", f"{folder}/out.wav", "--overwrite"]
        denoise = [*words, options.recording or f"{folder}/short.wav"]
        commands = {
            "python -c pass": ["-c", "pass"],
            IMPORT: ["-c", IMPORT],
            "audiotool --help": ["-m", "audiotool", "--help"],
            "audiotool models list": ["-m", "audiotool", "models", "list"],
            "audiotool denoise": denoise,
        }
        if options.torch:
            commands["audiotool denoise --engine torch"] = [*denoise, "--engine", "torch"]
        found = costs(commands, options.runs)
        print("| process | processor time, s | of the import | peak memory, MB | at most |")
        print("| --- | ---: | ---: | ---: | --- |")
        for name, measured in found.items():
            seconds, memory = (min(values) for values in zip(*measured, strict=True))
            ratios = [own[0] / base[0] for own, base in zip(measured, found[IMPORT], strict=True)]
            imports = statistics.median(ratios)
            verdict = BARS.get(name, Bar()).verdict_of(seconds, imports, memory)
            print(f"| `{name}` | {seconds:.2f} | {imports:.2f} | {memory:.0f} | {verdict} |", flush=True)
        for name, sizes in LARGE.items() if options.memory else ():
            seconds, memory = cost([*words, make(Path(folder, "large.wav"), *sizes)])
            verdict = BARS[name].verdict_of(seconds, 0.0, memory)
            print(f"| `audiotool denoise`, {name} | {seconds:.2f} | | {memory:.0f} | {verdict} |", flush=True)


if __name__ == "__main__":
    run_script(main)
