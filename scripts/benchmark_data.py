"""Measure how many seconds of training audio one loader process mixes in a second.

    python scripts/benchmark_data.py --speech MANIFEST... --noise MANIFEST... [--rir MANIFEST...]

Without manifests it uses the bundled test sounds. The first run decodes the recordings; that is not counted.
Set OMP_NUM_THREADS=1 for a figure that training beside it would see.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from plain_errors import run_script
from torch.utils.data import DataLoader

from audiotool.data.config import AudioConfig, DataConfig
from audiotool.data.dataset import make_dataset

BUNDLED = Path(__file__).parent.parent / "tests" / "data" / "audio" / "manifest.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for key in ("speech", "noise", "rir"):
        parser.add_argument(f"--{key}", type=Path, nargs="+", default=[BUNDLED])
    parser.add_argument("--example", default="noisy")
    parser.add_argument("--sample-rate", type=int, default=16000)
    parser.add_argument("--segment-seconds", type=float, default=4.0)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--mel", help="preset, for --example features")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()

    data = DataConfig(speech=options.speech, noise=options.noise, rir=options.rir)
    audio = AudioConfig(
        sample_rate=options.sample_rate,
        segment_seconds=options.segment_seconds,
        channels=options.channels,
        mel=options.mel,
    )
    length = options.batch_size * options.batches
    dataset = make_dataset(data, audio, options.example, "train", length)

    begin = time.process_time()
    for index in range(0, length, max(1, length // 100)):
        dataset[index]
    alone = (time.process_time() - begin) / len(range(0, length, max(1, length // 100)))

    loader = iter(DataLoader(dataset, options.batch_size, num_workers=options.workers))
    next(loader)  # the worker has started
    begin = time.perf_counter()
    count = sum(1 for _ in loader)
    wall = time.perf_counter() - begin
    seconds = count * options.batch_size * options.segment_seconds
    length_s = options.segment_seconds
    print(f"{options.example}, {length_s} s at {options.sample_rate} Hz, {options.workers} workers")
    print(f"one example: {1e3 * alone:.1f} ms of one core, {length_s / alone:.0f} s of audio a second")
    print(f"loader: {seconds / wall:.0f} s of audio a second of wall time")


if __name__ == "__main__":
    run_script(main)
