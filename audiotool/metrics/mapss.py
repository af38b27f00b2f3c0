"""MAPSS: perceptual separation of stems, and perceptual match of each with its source.

The measure is that of the package `mapss-measures` (MIT), at its published settings: wav2vec 2.0 Large, layer
2. The package requires numpy below 2.4, soundfile below 0.14, pyloudnorm below 0.2 and transformers below
4.53, which conflicts with newer versions that the other extras allow. So it runs in a child process
(`mapss_worker.py`), whose interpreter may be that of another environment. audiotool decides which estimate
belongs to which reference.

The network is read from a folder and never downloaded. The child's working folder has a link to that folder,
under the name by which the package loads the network, and the libraries run in their offline mode.

Reference: Ivry, Cornell and Watanabe, MAPSS: Manifold-based Assessment of Perceptual Source Separation, ICLR
2026, arXiv:2509.09212.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soundfile

from audiotool.errors import DependencyError
from audiotool.extras import MAPSS, is_there
from audiotool.metrics.base import JointMetric, Mixture, Unscorable, Waveform
from audiotool.metrics.child import Child
from audiotool.metrics.values import Curve, StemScore

PYTHON = "AUDIOTOOL_MAPSS_PYTHON"
"""Environment variable: path of the interpreter of an environment that has `mapss-measures`."""

BACKBONE = "AUDIOTOOL_MAPSS_BACKBONE"
"""Environment variable: path of the folder of wav2vec 2.0."""

NETWORK = "facebook/wav2vec2-large-lv60"
"""Name by which the package loads the network."""

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


class _Mapss(JointMetric):
    family = "mapss"
    score: ClassVar[str]

    @classmethod
    def check(cls) -> None:
        try:
            _worker().ask(b"{}\n")
        except Unscorable as error:
            raise DependencyError(str(error)) from None

    def rate(self, mixture: Mixture) -> list[StemScore]:
        found = mixture.results.of("mapss", lambda: _worker().rate(mixture))
        return found[self.score]


class PerceptualSeparation(_Mapss):
    """MAPSS, perceptual separation (PS): how far a stem is from the other sources, 0 to 1."""

    name = "mapss_ps"
    score = "ps"


class PerceptualMatch(_Mapss):
    """MAPSS, perceptual match (PM): how near a stem is to its own source, 0 to 1."""

    name = "mapss_pm"
    score = "pm"


class _Worker(Child):
    """The process of an interpreter and a network, in a folder of its own.

    Args:
        python: the interpreter.
        backbone: the folder of the network, absolute.
    """

    def __init__(self, python: str, backbone: str) -> None:
        # Isolated: neither the modules beside the script nor those of PYTHONPATH hide the package's.
        script = Path(__file__).with_name("mapss_worker.py").absolute()
        super().__init__("MAPSS", [python, "-I", str(script)], environment=OFFLINE)
        self.backbone = backbone
        self._place: tempfile.TemporaryDirectory[str] | None = None

    def ask(self, request: bytes) -> dict[str, Any]:
        if self._place is None:
            place = tempfile.TemporaryDirectory(prefix="audiotool-mapss-")
            self.folder = Path(place.name)
            link = self.folder / NETWORK
            link.parent.mkdir()
            link.symlink_to(self.backbone, target_is_directory=True)
            self._place = place
        return super().ask(request)

    def close(self) -> None:
        place, self._place = self._place, None
        super().close()
        if place is not None:
            place.cleanup()

    def rate(self, mixture: Mixture) -> dict[str, list[StemScore]]:
        """Return {"ps", "pm"}: the score of each stem.

        Raises:
            Unscorable: the package refuses the mixture, or the process died.
        """
        with tempfile.TemporaryDirectory(prefix="audiotool-mapss-") as folder:
            sides = {"references": mixture.references, "estimates": mixture.estimates}
            request = {
                side: _written(Path(folder, side), stems, mixture.sample_rate)
                for side, stems in sides.items()
            }
            answer = self.ask(json.dumps(request).encode() + b"\n")
        try:
            return {name: [_stem(stem, answer["step_s"]) for stem in answer[name]] for name in ("ps", "pm")}
        except (KeyError, TypeError, ValueError):
            raise Unscorable(f"MAPSS gives no scores: {str(answer)[:80]}") from None


def _written(folder: Path, stems: Waveform, sample_rate: int) -> list[str]:
    folder.mkdir()
    paths = [str(folder / f"{n}.wav") for n in range(len(stems))]
    for path, samples in zip(paths, stems, strict=True):
        soundfile.write(path, samples.astype(np.float32), sample_rate, "FLOAT")
    return paths


def _stem(found: dict[str, Any], step_s: float) -> StemScore:
    frames = (None if value is None else float(value) for value in found["frames"])
    return StemScore(float(found["value"]), Curve(float(step_s), tuple(frames)))


def _worker() -> _Worker:
    """Return the child process for the interpreter and the network that the environment variables name.

    Raises:
        DependencyError: a variable is not set, or the folder holds no network.
    """
    python = os.environ.get(PYTHON) or (sys.executable if is_there("mapss") else None)
    if python is None:
        raise DependencyError(f"MAPSS needs mapss-measures in an environment of its own: {MAPSS}")
    backbone = os.environ.get(BACKBONE)
    if not backbone:
        raise DependencyError(
            f"MAPSS needs wav2vec 2.0 Large in a folder: --mapss-backbone DIR or {BACKBONE}"
        )
    if not Path(backbone, "config.json").is_file():
        raise DependencyError(f"{backbone}: MAPSS needs the folder of a network, with config.json in it")
    # The child runs elsewhere; a plain name is looked for where programs are.
    python = os.path.abspath(python) if os.path.dirname(python) else python
    return _started(python, os.path.abspath(backbone))


@functools.lru_cache(maxsize=1)
def _started(python: str, backbone: str) -> _Worker:
    return _Worker(python, backbone)
