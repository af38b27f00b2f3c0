"""Measure how far a non-causal model's streamed output is from its whole-file output.

    python scripts/measure_overlap_add.py CHECKPOINT RECORDING [--segment 10] [--overlap 1]

The recording must be of the checkpoint's sample rate and fit in memory whole; use one several segments long.
The difference is given in decibels below the whole-file output.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from plain_errors import run_script

from audiotool.audio.reader import read
from audiotool.checkpoint import load
from audiotool.engines.pytorch import TorchEngine
from audiotool.models.base import measure_level
from audiotool.named_checkpoints import resolve
from audiotool.streaming.make import make_streamer


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("recording")
    parser.add_argument("--segment", type=float, default=10.0, help="seconds")
    parser.add_argument("--overlap", type=float, default=1.0, help="seconds")
    options = parser.parse_args()

    model, _ = load(resolve(options.checkpoint))
    waveform, rate = read(options.recording)
    if rate != model.sample_rate:
        parser.error(f"the recording has {rate} Hz, the model works at {model.sample_rate} Hz")
    length = waveform.shape[1] / rate
    if length < 2 * options.segment:
        parser.error(f"the recording lasts {length:.1f} s: two segments at least (--segment)")
    x = torch.from_numpy(waveform)[None, : model.channels]
    conditions = {"level": measure_level(x)} if model.uses_level else {}
    whole = model.process(x, **conditions)
    streamer = make_streamer(
        TorchEngine(model), round(options.segment * rate), round(options.overlap * rate), **conditions
    )
    blocks = [streamer.feed(block.numpy()) for block in x.split(rate, dim=-1)]
    streamed = torch.from_numpy(np.concatenate([*blocks, streamer.flush()], axis=-1))
    error = (streamed - whole).square().mean().sqrt() / whole.square().mean().sqrt()
    worst = (streamed - whole).abs().max() / whole.abs().max()
    print(f"{model.name}: {x.shape[-1] / rate:.1f} s in segments of {options.segment:g} s,", end=" ")
    print(
        f"overlap {options.overlap:g} s: difference {20 * error.log10():.1f} dB of the output's level,",
        end=" ",
    )
    print(f"at most {20 * worst.log10():.1f} dB of its peak")


if __name__ == "__main__":
    run_script(main)
