"""Measure a trained checkpoint on a rendered test set and put it, with its numbers, among the bundled ones.

    audiotool data mix denoise -o TEST --split test --count 100 --set data.root=DATA
    python scripts/bundle_checkpoint.py runs/NAME/NAME-best.safetensors --name NAME --test TEST

TEST holds noisy/ and clean/ with files of the same names; a vocoder's noisy/ holds mels. Writes
checkpoints/NAME.safetensors with the means in its metadata, its model card, and the manifest.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

from safetensors.torch import load_file
from update_manifest import main as update_manifest

import audiotool
from audiotool import checkpoint
from audiotool.metrics.report import summary
from audiotool.metrics.score import pair_files, score_files
from audiotool.tasks.base import TASKS
from audiotool.vocoding import vocode_file


def measure(path: Path, test: Path, jobs: int) -> dict[str, dict[str, float]]:
    """Means over the test set, of the output and of an input that is sound: {"test, …": {metric: value}}."""
    pipeline = audiotool.load(path)
    speaks = pipeline.task == "vocode"
    process = partial(vocode_file, pipeline) if speaks else pipeline.process_file
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted((test / "noisy").iterdir()):
            process(source, Path(folder) / f"{source.stem}.wav")
        pairs = pair_files(test / "clean", Path(folder), None if speaks else test / "noisy")
        rows = score_files(pairs, TASKS.get(pipeline.task).metrics, jobs)
    means = {column: values["mean"] for column, values in summary(rows).items()}
    metrics = [m for m in TASKS.get(pipeline.task).metrics if m in means]
    measured = {f"test, {len(rows)} {'mels' if speaks else 'mixtures'}": {m: means[m] for m in metrics}}
    if not speaks:
        measured["test, input"] = {m: means[f"{m}_noisy"] for m in metrics}
    return measured


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--name", required=True, help="of the bundled checkpoint")
    parser.add_argument("--test", type=Path, required=True, help="folder with noisy/ and clean/")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--notes", help="replaces the notes in the checkpoint")
    arguments = parser.parse_args()
    metadata = checkpoint.read_metadata(arguments.checkpoint)
    metadata.metrics |= measure(arguments.checkpoint, arguments.test, arguments.jobs)
    if arguments.notes is not None:
        metadata.notes = arguments.notes
    target = checkpoint.bundled_root("checkpoints") / f"{arguments.name}.safetensors"
    checkpoint.save(target, load_file(arguments.checkpoint), metadata)
    for name, means in metadata.metrics.items():
        print(name, {metric: round(value, 3) for metric, value in means.items()})
    update_manifest()


if __name__ == "__main__":
    main()
