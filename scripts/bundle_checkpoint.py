"""Measure a trained checkpoint on a recipe's test split and put it among the bundled ones.

    python scripts/bundle_checkpoint.py runs/NAME/NAME-best.safetensors --name NAME --recipe RECIPE \\
        --data DATA

DATA holds what the recipe's data.root should. Writes checkpoints/NAME.safetensors with the means and the
commands that give them again, its model card, and the manifest. Weights are stored in half precision, and so
measured. A bundled checkpoint given in place of the trained one is measured again.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from plain_errors import run_script
from safetensors.torch import load_file
from torch import Tensor
from update_manifest import update

from audiotool import checkpoint, named_checkpoints
from audiotool.modelcard import measure
from audiotool.yaml_documents import parse_settings

LARGE = 4096
"""Values of a tensor that are worth it."""


def commands(
    name: str, task: str, recipe: str, count: int, seed: int, mixed: Sequence[str] = (), options: str = ""
) -> list[str]:
    """Return the commands that render the test set (TEST) from the data (DATA) and score the checkpoint
    (OUT)."""
    mix = f"audiotool data mix {recipe} -o TEST --split test --count {count} --seed {seed}"
    score = f"audiotool {task} TEST/noisy -o OUT/ --reference TEST/clean --report OUT/report.json"
    settings = "".join(f" --set {setting}" for setting in ("data.root=DATA", *mixed))
    return [mix + settings, " ".join(filter(None, (score, f"--model {name}", options)))]


def rendered(line: str, data: Path, folder: Path) -> Path:
    """The test set that the command renders of the data; where it fails, it has said why."""
    places = {"TEST": f"{folder}/test", "DATA": str(data.resolve())}
    _, *words = (re.sub("TEST|DATA", lambda found: places[found[0]], word) for word in line.split())
    command = [sys.executable, "-m", "audiotool", *words]
    if code := subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        sys.exit(code)
    return folder / "test"


def packed(tensor: Tensor) -> Tensor:
    """In half precision; the last bit of each value of a large tensor is 0.

    What a wheel compresses is 6 % smaller for it, and a network's answer is 66 dB or more from what it was
    (two-speakers-16k and two former super-resolvers on the demo recording).
    """
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if half.numel() < LARGE or not bool(half.isfinite().all()):
        return half
    # Bits of floats grow with their magnitude: the nearest even number of bits is the nearest such value.
    bits = half.view(torch.int16).int() & 0xFFFF
    even = (bits + (bits >> 1 & 1)) & 0xFFFE
    even = torch.where(even & 0x7FFF == 0x7C00, bits & 0xFFFE, even)  # not to infinity
    return even.to(torch.int16).view(torch.float16)


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--name", required=True, help="of the bundled checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="folder of the recipe's manifests")
    parser.add_argument("--recipe", required=True, help="whose test set it is, by its name")
    parser.add_argument("--count", type=int, default=100, help="test examples")
    parser.add_argument("--seed", type=int, default=0, help="of the test set")
    parser.add_argument("--notes", help="replaces the notes in the checkpoint")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="hyper-parameters that fit the same weights"
    )
    parser.add_argument(
        "--mix",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="keys of the recipe that the test set changes",
    )
    parser.add_argument("--options", default="", help="of the command that is scored")
    arguments = parser.parse_args()
    metadata = checkpoint.read_metadata(arguments.checkpoint)
    metadata.model["config"] |= parse_settings(arguments.set)
    if arguments.notes is not None:
        metadata.notes = arguments.notes
    tensors = {name: packed(t) for name, t in load_file(arguments.checkpoint).items()}
    numbers = (arguments.count, arguments.seed)
    metadata.commands = commands(
        arguments.name, metadata.task, arguments.recipe, *numbers, arguments.mix, arguments.options
    )
    metadata.metrics = {k: v for k, v in metadata.metrics.items() if not k.startswith("test, ")}
    with tempfile.TemporaryDirectory() as folder:
        measured = Path(folder, f"{arguments.name}.safetensors")
        checkpoint.save(measured, tensors, metadata)
        test = rendered(metadata.commands[0], arguments.data, Path(folder))
        metadata.metrics |= measure(measured, metadata.task, test, "test", arguments.options.split())
    # What was bundled is replaced when nothing is left that can fail for want of data.
    target = named_checkpoints.bundled_root("checkpoints") / f"{arguments.name}.safetensors"
    checkpoint.save(target, tensors, metadata)
    for suffix in (".onnx", ".json"):  # of other weights: a graph is made again at the end
        target.with_suffix(suffix).unlink(missing_ok=True)
    for name, means in metadata.metrics.items():
        print(name, {metric: round(value, 3) for metric, value in means.items()})
    update([arguments.name])


if __name__ == "__main__":
    run_script(main)
