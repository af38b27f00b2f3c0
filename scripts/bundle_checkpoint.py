"""Measure a trained checkpoint on a rendered test set and put it, with its numbers, among the bundled ones.

    audiotool data mix denoise -o TEST --split test --count 100 --set data.root=DATA
    python scripts/bundle_checkpoint.py runs/NAME/NAME-best.safetensors --name NAME --test TEST

TEST holds noisy/ and clean/ with files of the same names; a vocoder's noisy/ holds mels. Writes
checkpoints/NAME.safetensors with the means in its metadata, its model card, and the manifest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from safetensors.torch import load_file
from update_manifest import main as update_manifest

from audiotool import checkpoint
from audiotool.tasks.base import TASKS


def measure(path: Path, test: Path, jobs: int) -> dict[str, dict[str, float]]:
    """Means over the test set, of the output and of the unprocessed input: {"test, …": {metric: value}}."""
    task = checkpoint.read_metadata(path).task
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        arguments = [str(test / "noisy"), "--output", f"{folder}/", "--reference", str(test / "clean")]
        arguments += ["--checkpoint", str(path), "--report", str(report), "--jobs", str(jobs), "--quiet"]
        subprocess.run([sys.executable, "-m", "audiotool", task, *arguments], check=True)
        found = json.loads(report.read_text())
    means = {column: values["mean"] for column, values in found["summary"].items()}
    metrics = TASKS.get(task).metrics
    return {
        name: row
        for name, suffix in ((f"test, {len(found['files'])} files", ""), ("test, input", "_noisy"))
        if (row := {m: means[m + suffix] for m in metrics if means.get(m + suffix) is not None})
    }


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--name", required=True, help="of the bundled checkpoint")
    parser.add_argument("--test", type=Path, required=True, help="folder with noisy/ and clean/")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--notes", help="replaces the notes in the checkpoint")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="hyper-parameters that fit the same weights"
    )
    arguments = parser.parse_args()
    metadata = checkpoint.read_metadata(arguments.checkpoint)
    metadata.model["config"] |= {
        key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in arguments.set)
    }
    if arguments.notes is not None:
        metadata.notes = arguments.notes
    target = checkpoint.bundled_root("checkpoints") / f"{arguments.name}.safetensors"
    tensors = load_file(arguments.checkpoint)
    checkpoint.save(target, tensors, metadata)
    metadata.metrics |= measure(target, arguments.test, arguments.jobs)
    checkpoint.save(target, tensors, metadata)
    for name, means in metadata.metrics.items():
        print(name, {metric: round(value, 3) for metric, value in means.items()})
    update_manifest()


if __name__ == "__main__":
    main()
