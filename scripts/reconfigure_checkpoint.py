"""Change the configuration of a trained checkpoint where its weights stay the same.

    python scripts/reconfigure_checkpoint.py OUT.safetensors CHECKPOINT --set KEY=VALUE [--set KEY=VALUE ...]
        [--overwrite]

CHECKPOINT is a file or a bundled one's name, KEY a field of the model's configuration. Other tensors than the
checkpoint's are refused. OUT has no scores. `audiotool models export OUT.safetensors -o OUT.onnx` gives it a
graph, with which it runs without PyTorch. The default vocoder with 24 iterations over all frames, which lags
by 272 ms, and takes three quarters of the time as a graph, a third in PyTorch (docs/vocoders.md):

    python scripts/reconfigure_checkpoint.py gl.safetensors harmonic-vocoder-24k \\
        --set inversion=griffin-lim --set iterations=24 --set lookahead=1 \\
        --set momentum=0.99 --set freedom=0.8
"""

from __future__ import annotations

import argparse
from pathlib import Path

from outputs import parse_with_output
from plain_errors import run_script

from audiotool import checkpoint, named_checkpoints
from audiotool.yaml_documents import parse_settings


def main() -> None:
    """Read, change, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("checkpoint")
    parser.add_argument("--set", action="append", required=True, metavar="KEY=VALUE", dest="settings")
    options = parse_with_output(parser)
    model, metadata = checkpoint.load(named_checkpoints.resolve(options.checkpoint))
    config = checkpoint.describe_model(model)["config"]
    changed = type(model).from_config({**config, **parse_settings(options.settings)})
    changed.load_weights(model.state_dict(), options.checkpoint)
    metadata.model = checkpoint.describe_model(changed)
    checkpoint.save(options.output, changed.state_dict(), metadata.remade())


if __name__ == "__main__":
    run_script(main)
