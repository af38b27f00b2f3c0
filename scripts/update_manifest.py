"""Write checkpoints/SHA256SUMS, and a model card and a graph beside each bundled checkpoint.

    python scripts/update_manifest.py [NAME ...]

Run it after a bundled checkpoint was added or replaced; `audiotool models verify` checks the result. Graphs
are written for the checkpoints named, and for those whose graph was made from other weights. They take their
weights from the checkpoint: nothing is kept twice.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from plain_errors import run_script

from audiotool import checkpoint, named_checkpoints
from audiotool.atomic import write_text
from audiotool.engines.onnx import OnnxEngine
from audiotool.errors import CheckpointError
from audiotool.exporting.export import export
from audiotool.modelcard import write_card
from audiotool.text import nearest


def has_graph(path: Path) -> bool:
    """Whether there is a graph made from this very checkpoint."""
    graph = checkpoint.graph_of(path)
    try:
        return graph is not None and bool(OnnxEngine.open(graph, path))
    except CheckpointError:
        return False


def update(names: Sequence[str] = ()) -> None:
    """Write graphs, cards and the manifest, and say which.

    Args:
        names: checkpoints whose graphs are written anew.
    Raises:
        CheckpointError: there is no such checkpoint; nothing has been written.
    """
    root = named_checkpoints.bundled_root("checkpoints")
    paths = sorted(root.glob("*.safetensors"))
    known = [path.stem for path in paths]
    for name in names:
        if name not in known:
            raise CheckpointError(f"no checkpoint '{name}' in {root}{nearest(name, known)}")
    for path in paths:
        if path.stem in names or not has_graph(path):
            _, parity = export(path, path.with_suffix(".onnx"), shares_weights=True)
            print(f"{path.with_suffix('.onnx')}: {parity.worst:.1e} of the peak from the model")
        print(write_card(path))  # with the facts of the new graph's card
    print(write_manifest(root))


def write_manifest(root: Path) -> Path:
    """List the hashes of checkpoints, graphs and cards of graphs; returns where."""
    manifest = root / named_checkpoints.MANIFEST
    files = [file for path in sorted(root.glob("*.safetensors")) for file in checkpoint.files_of(path)]
    write_text(manifest, "".join(f"{checkpoint.sha256(file)}  {file.name}\n" for file in files))
    return manifest


def main() -> None:
    """Parse, update."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a checkpoint whose graph is written anew")
    update(parser.parse_args().names)


if __name__ == "__main__":
    run_script(main)
