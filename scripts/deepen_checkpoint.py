"""Double the layers of a trained band-split GRU, without changing what it does.

    python scripts/deepen_checkpoint.py OUT.safetensors CHECKPOINT [--seed 0] [--overwrite]

CHECKPOINT is a file or a bundled one's name. A new layer follows every layer, and the memory over all bands
follows the new one. What a new layer adds is zero until it is trained, as in Net2DeeperNet (Chen, Goodfellow
and Shlens, Net2Net, ICLR 2016, arXiv:1511.05641). A recipe of twice the `layers`, and with a memory of
twice the `memory_every`, goes on from OUT with --init-from. OUT has no scores: scripts/bundle_checkpoint.py
measures it.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from pathlib import Path

import torch
from outputs import parse_with_output
from plain_errors import run_script

from audiotool import checkpoint, named_checkpoints
from audiotool.models.band_split_gru import BandSplitGRU

LAYER = re.compile(r"layers\.(\d+)\.(.+)")
"""A layer's parameter."""

ADDED = ("time.", "gather.", "narrow.")
"""The linear layers at the end of a layer's three parts, whose outputs are added to what goes through."""


def deepened(model: BandSplitGRU) -> BandSplitGRU:
    """Return a network of twice the layers with the same output; the new ones are initialised at random."""
    c = model.config
    memory_every = c.memory_every * (2 if c.memory else 1)
    deep = BandSplitGRU(dataclasses.replace(c, layers=2 * c.layers, memory_every=memory_every))
    trained, weights = model.state_dict(), deep.state_dict()
    for name, tensor in weights.items():
        found = LAYER.fullmatch(name)
        if found is None:
            weights[name] = trained[name]
        elif int(found[1]) % 2 == 0:
            weights[name] = trained[f"layers.{int(found[1]) // 2}.{found[2]}"]
        elif found[2].startswith(ADDED):
            weights[name] = torch.zeros_like(tensor)
    deep.load_state_dict(weights)
    return deep


def main() -> None:
    """Read, deepen, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("checkpoint")
    parser.add_argument("--seed", type=int, default=0, help="of the new layers")
    options = parse_with_output(parser)
    model, metadata = checkpoint.load(named_checkpoints.resolve(options.checkpoint))
    if not isinstance(model, BandSplitGRU):
        sys.exit(f"{options.checkpoint} is a {model.name}: only a band-split GRU can be made deeper")
    torch.manual_seed(options.seed)
    deep = deepened(model)
    metadata.model = checkpoint.describe_model(deep)
    checkpoint.save(options.output, deep.state_dict(), metadata.remade())


if __name__ == "__main__":
    run_script(main)
