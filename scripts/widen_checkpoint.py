"""Double the features of a trained band-split GRU's bands, without changing what it does.

    python scripts/widen_checkpoint.py OUT.safetensors CHECKPOINT [--seed 0] [--overwrite]

CHECKPOINT is a file or a bundled one's name. Every feature is there twice, and what read it reads a random
share of it from either copy, which makes training tell them apart (Net2WiderNet: Chen, Goodfellow and Shlens,
Net2Net, ICLR 2016, arXiv:1511.05641). A recipe of twice the `dim` goes on from OUT with --init-from. The
memories over all bands stay as wide as they were, and OUT has no scores: scripts/bundle_checkpoint.py
measures it.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch
from outputs import parse_with_output
from plain_errors import run_script
from torch import Tensor

from audiotool import checkpoint, named_checkpoints
from audiotool.models.band_split_gru import BandSplitGRU

INPUTS = 1
"""The axis of a matrix, or of a matrix a band, along which features come in; they go out along all others."""


def widened(tensor: Tensor, shape: torch.Size, dim: int, generator: torch.Generator) -> Tensor:
    """A parameter of the network in which every feature is there twice.

    Args:
        tensor: the parameter where there are `dim` features.
        shape: the parameter's where there are twice as many. An axis that grows holds a whole number of
            times `dim`: a time for each gate, band or multiple of the expansion.
        dim: features of a band.
        generator: of the shares that are read from either copy.
    """
    for axis in range(tensor.ndim):
        if tensor.shape[axis] == shape[axis]:
            continue
        one = tensor.unflatten(axis, (-1, dim))
        share = torch.rand(one.shape, generator=generator)
        copies = [one * share, one * (1 - share)] if axis == INPUTS else [one, one]
        tensor = torch.cat(copies, dim=axis + 1).flatten(axis, axis + 1)
    return tensor


def main() -> None:
    """Read, widen, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("checkpoint")
    parser.add_argument("--seed", type=int, default=0, help="of the shares")
    options = parse_with_output(parser)
    model, metadata = checkpoint.load(named_checkpoints.resolve(options.checkpoint))
    if not isinstance(model, BandSplitGRU):
        sys.exit(f"{options.checkpoint} is a {model.name}: only a band-split GRU can be made wider")
    dim = model.config.dim
    wide = BandSplitGRU(dataclasses.replace(model.config, dim=2 * dim))
    generator = torch.Generator().manual_seed(options.seed)
    weights = model.state_dict()
    for name, tensor in wide.state_dict().items():
        weights[name] = widened(weights[name], tensor.shape, dim, generator)
    metadata.model = checkpoint.describe_model(wide)
    checkpoint.save(options.output, weights, metadata.remade())


if __name__ == "__main__":
    run_script(main)
