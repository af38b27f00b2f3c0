"""Official GTCRN checkpoints: `model_trained_on_dns3.tar` and such, torch files despite the name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from audiotool.importers.base import Importer, entry


class GTCRNImporter(Importer):
    """The network has one configuration and no configuration file."""

    name = "gtcrn"
    origin = "github.com/Xiaobin-Rong/gtcrn"
    licence = "MIT"
    signature = ("erb.erb_fc.weight", "encoder.en_convs", "dpgrnn1.intra_rnn")

    def weights(self, official: Any) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = entry(official, "model") if "model" in official else official
        renamed = {}
        for key, value in tensors.items():
            if key == "erb.ierb_fc.weight":
                continue
            new = key.replace("encoder.en_convs", "encoder").replace("decoder.de_convs", "decoder")
            new = re.sub(r"^dpgrnn(\d)", lambda m: f"recurrences.{int(m[1]) - 1}", new)
            new = "erb_filters" if key == "erb.erb_fc.weight" else new
            renamed[new] = _turn(new, value) if value.dim() == 4 else value
        return renamed

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        return {}


def _turn(key: str, kernel: Tensor) -> Tensor:
    """(.., time, frequency) to (.., frequency, time); transposed convolutions of stride 1 to plain ones."""
    kernel = kernel.transpose(2, 3)
    if key.startswith("decoder"):
        if "point_conv" in key:
            kernel = kernel.transpose(0, 1)
        if "depth_conv" in key:
            kernel = kernel.flip(2, 3)
    return kernel.contiguous()
