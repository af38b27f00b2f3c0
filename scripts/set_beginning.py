r"""Let the live streams of a band-split GRU begin with what its memories hold on the mean.

    audiotool data mix denoise -o MIXTURES --split valid --count 100 --set data.root=DATA \
      --set "data.splits.valid=[train]"
    python scripts/set_beginning.py OUT.safetensors CHECKPOINT MIXTURES [--share 0.7] [--overwrite]

CHECKPOINT is a file or a bundled one's name. Each recording in MIXTURES/noisy is heard for as long as the
model warms up, and streams begin with SHARE of the mean of the memories then (`learnt_start`), in place of
none. Nothing else changes, and OUT has no scores: scripts/bundle_checkpoint.py measures it.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from outputs import parse_with_output
from plain_errors import run_script

from audiotool import checkpoint, named_checkpoints
from audiotool.audio.reader import read
from audiotool.models.band_split_gru import BandSplitGRU


def with_learnt_start(model: BandSplitGRU) -> BandSplitGRU:
    """The same network with beginnings to set."""
    copy = BandSplitGRU(dataclasses.replace(model.config, learnt_start=True))
    copy.load_weights({**copy.state_dict(), **model.state_dict()}, "the checkpoint")
    return copy.eval()


def memories(model: BandSplitGRU, folder: Path) -> Iterator[dict[str, Any]]:
    """The memories that each recording of a folder leaves."""
    for path in sorted(folder.iterdir()):
        waveform, rate = read(path)
        if rate != model.sample_rate:
            sys.exit(f"{path}: {rate} Hz, the model hears {model.sample_rate}")
        yield model.warm_up(torch.from_numpy(waveform[:1, : model.warm_up_samples])[None])


def main() -> None:
    """Read, listen, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("checkpoint")
    parser.add_argument("mixtures", type=Path)
    parser.add_argument("--share", type=float, default=0.7, help="of the mean")
    options = parse_with_output(parser)
    model, metadata = checkpoint.load(named_checkpoints.resolve(options.checkpoint))
    if not isinstance(model, BandSplitGRU):
        sys.exit(f"{options.checkpoint} is a {model.name}: only a band-split GRU's beginning can be set")
    model = with_learnt_start(model)
    with torch.inference_mode():
        found = list(memories(model, options.mixtures / "noisy"))
    memory = {
        name: [torch.cat(states) for states in zip(*(memory[name] for memory in found), strict=True)]
        for name in ("layers", "memories")
    }
    model.begin_with(memory, options.share)
    metadata.model = checkpoint.describe_model(model)
    metadata.training["beginning"] = {"recordings": len(found), "share": options.share}
    checkpoint.save(options.output, model.state_dict(), metadata.remade())


if __name__ == "__main__":
    run_script(main)
