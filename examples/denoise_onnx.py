"""Denoise in Python, block by block, with nothing but onnxruntime.

    pip install numpy onnxruntime soundfile
    python denoise_onnx.py checkpoints/denoise-16k.onnx noisy.wav denoised.wav

The recording is mono and has the card's sample rate; a separator's stems become channels. A bundled graph's
weights lie in the checkpoint beside it; a graph that `audiotool models export` wrote holds them itself. The
samples are audiotool's without a warm-up, up to the first onset after quiet or the first pause, where
audiotool resets the model's state. docs/reference/json.md explains the card.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import soundfile

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # or onnxruntime sends events to Microsoft
import onnxruntime

HOPS = 16
"""Hops of a block: more are faster, fewer come sooner."""

DTYPES = {"F16": "<f2", "F32": "<f4"}


def tensor(checkpoint: Path, name: str) -> np.ndarray:
    """Read a tensor of a .safetensors file: the length of its JSON, the JSON, and the values it points to."""
    data = checkpoint.read_bytes()
    values = 8 + int.from_bytes(data[:8], "little")
    about = json.loads(data[8:values])[name]
    begin, end = about["data_offsets"]
    return np.frombuffer(data[values + begin : values + end], DTYPES[about["dtype"]])


if len(sys.argv) != 4:
    sys.exit("usage: python denoise_onnx.py MODEL.onnx NOISY.wav DENOISED.wav")
model, source, target = sys.argv[1].removesuffix(".onnx"), *sys.argv[2:]
card = json.loads(Path(f"{model}.json").read_text(encoding="utf-8"))
if card["mel"] or card["input_channels"] != 1:
    sys.exit(f"{model}: the graph takes no mono waveform")
session = onnxruntime.InferenceSession(f"{model}.onnx", providers=["CPUExecutionProvider"])

# A stream begins with every state's start: one number for all of it, nested lists, or the name of a tensor of
# the checkpoint.
state = {}
for about in card["states"]:
    shape, start = [1 if size == "batch" else size for size in about["shape"]], about["start"]
    if isinstance(start, str):
        start = tensor(Path(f"{model}.safetensors"), start).reshape(shape)
    state[about["name"]] = np.broadcast_to(np.asarray(start, about["type"]), shape)
names = ["output", *(f"next_{name}" for name in state)]

with soundfile.SoundFile(source) as noisy:
    if (noisy.samplerate, noisy.channels) != (card["sample_rate"], 1):
        sys.exit(f"{source}: needs {card['sample_rate']} Hz and one channel")
    size = HOPS * card["hop_length"]
    drop, left = card["delay"], noisy.frames - card["shorter"]
    stems = len(card["stems"])
    with soundfile.SoundFile(target, "w", noisy.samplerate, stems, "FLOAT", format="WAV") as denoised:
        while left > 0:
            # Behind the end silence brings out what is still inside.
            block = noisy.read(size, dtype="float32", fill_value=card["drain_value"])
            output, *after = session.run(names, {"input": block[None, None], **state})
            state = dict(zip(state, after, strict=True))
            # What comes before the stream's first sample is dropped.
            samples = output[0, :, drop:].T[:left]
            drop, left = max(0, drop - size), left - len(samples)
            denoised.write(samples)
