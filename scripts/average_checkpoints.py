"""Average the weights of several runs of one architecture into one checkpoint.

    python scripts/average_checkpoints.py OUT.safetensors SHARE:CHECKPOINT SHARE:CHECKPOINT ...
        [--own PATTERN ...] [--overwrite]

Runs that begin with the same weights and train on other examples lie in one basin of the loss. Their average
is often better on examples that none of them was trained on than each run is (Wortsman et al., Model soups,
ICML 2022, arXiv:2203.05482).

A CHECKPOINT is a file or a bundled one's name. Shares are normalised to a sum of 1. The metadata of OUT is
that of the first checkpoint, with the data sets of all and without scores: scripts/bundle_checkpoint.py
measures the average. Tensors that fit a PATTERN (`layers.*.beginning.*`) are taken from the first checkpoint.
The others may lack them, and may differ in their settings.
"""

from __future__ import annotations

import argparse
import math
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from outputs import parse_with_output
from plain_errors import run_script

from audiotool import checkpoint, named_checkpoints
from audiotool.training.history import joined_sources


def part(text: str) -> tuple[float, str]:
    """SHARE:CHECKPOINT -> the two."""
    share, _, name = text.partition(":")
    try:
        if name and 0 < float(share) < math.inf:
            return float(share), name
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"'{text}' is not SHARE:CHECKPOINT with a finite share above 0")


def average(weights: list[dict[str, torch.Tensor]], shares: list[float]) -> dict[str, torch.Tensor]:
    """The mean of tensors of the same names and shapes, in double precision."""
    parts = torch.tensor(shares, dtype=torch.float64) / sum(shares)
    return {
        name: torch.tensordot(parts, torch.stack([w[name].double() for w in weights]), 1).to(tensor.dtype)
        for name, tensor in weights[0].items()
    }


def completed(weights: list[dict[str, torch.Tensor]], own: list[str]) -> list[dict[str, torch.Tensor]]:
    """The same weights, in all of them the first's tensors whose names fit a pattern of `own`."""
    first = {name: t for name, t in weights[0].items() if any(fnmatchcase(name, p) for p in own)}
    found = [{**others, **first} for others in weights]
    shapes = [{name: tensor.shape for name, tensor in others.items()} for others in found]
    if any(other != shapes[0] for other in shapes):
        sys.exit("the checkpoints have different tensors")
    return found


def main() -> None:
    """Read, average, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("parts", nargs="+", type=part, metavar="SHARE:CHECKPOINT")
    parser.add_argument("--own", nargs="*", default=[], metavar="PATTERN", help="tensors of the first alone")
    arguments = parse_with_output(parser)
    shares = [share for share, _ in arguments.parts]
    paths = [named_checkpoints.resolve(name) for _, name in arguments.parts]
    models, described = zip(*map(checkpoint.load, paths), strict=True)
    described_models = [checkpoint.describe_model(model) for model in models]
    if not arguments.own and any(other != described_models[0] for other in described_models):
        sys.exit("the checkpoints are of different architectures or settings")
    if len({metadata.licence for metadata in described}) > 1:
        sys.exit("the checkpoints have different licences")
    metadata = described[0].remade()
    metadata.sources = joined_sources(*(other.sources for other in described))
    metadata.training["averaged"] = [
        {"checkpoint": path.stem, "share": share} for path, share in zip(paths, shares, strict=True)
    ]
    weights = completed([model.state_dict() for model in models], arguments.own)
    checkpoint.save(arguments.output, average(weights, shares), metadata)


if __name__ == "__main__":
    run_script(main)
