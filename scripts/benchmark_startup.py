"""The overhead of the command around the network: processor time and memory of whole processes.

    python scripts/benchmark_startup.py [recording.wav]

Each line is the least of several runs, beside a Python that does nothing and beside the import of onnxruntime
and numpy, the least that any program of this kind can cost. The recording is the demo's first 5 s, unless
one is given. With --memory, peaks of a recording of 10 minutes, one of 48 kHz in stereo and one of 32
channels follow.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

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


def cost(words: list[str], runs: int) -> tuple[float, float]:
    """Processor seconds and peak memory in MB of a Python process, the least of each.

    Modules are compiled beforehand, as those of an installed package are: the first run is not counted.
    """
    seconds, memory = [], []
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(runs + 1):
        process = subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{' '.join(words)} failed")
        seconds.append(usage.ru_utime + usage.ru_stime)
        memory.append(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6)
    return min(seconds[1:] or seconds), min(memory[1:] or memory)


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
    parser.add_argument("--runs", type=int, default=5)
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
            "import numpy, onnxruntime": ["-c", "import numpy, onnxruntime"],
            "audiotool --help": ["-m", "audiotool", "--help"],
            "audiotool models list": ["-m", "audiotool", "models", "list"],
            "audiotool denoise": denoise,
        }
        if options.torch:
            commands["audiotool denoise --engine torch"] = [*denoise, "--engine", "torch"]
        base = 0.0
        print("| process | processor time, s | of the import | peak memory, MB | at most |")
        print("| --- | ---: | ---: | ---: | --- |")
        for name, command in commands.items():
            seconds, memory = cost(command, options.runs)
            base = seconds if name.startswith("import") else base
            imports = seconds / base if base else 0.0
            verdict = BARS.get(name, Bar()).verdict_of(seconds, imports, memory)
            ratio = f"{imports:.2f}" if base else ""
            print(f"| `{name}` | {seconds:.2f} | {ratio} | {memory:.0f} | {verdict} |", flush=True)
        for name, sizes in LARGE.items() if options.memory else ():
            seconds, memory = cost([*words, make(Path(folder, "large.wav"), *sizes)], 0)
            verdict = BARS[name].verdict_of(seconds, 0.0, memory)
            print(f"| `audiotool denoise`, {name} | {seconds:.2f} | | {memory:.0f} | {verdict} |", flush=True)


if __name__ == "__main__":
    main()
