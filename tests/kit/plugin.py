"""A package with plug-ins, installed into a folder that the test puts on the path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def install_plugin(
    folder: Path, name: str, modules: Mapping[str, str], groups: Mapping[str, Mapping[str, str]]
) -> None:
    """Write modules and their distribution's metadata.

    Args:
        name: of the distribution; its version is 1.0.
        modules: module name -> text.
        groups: entry points: group -> {name: "module:Class"}.
    """
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, points in groups.items():
        lines += [f"[{group}]", *(f"{point} = {target}" for point, target in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


TASK = '''
from audiotool.tasks.base import Scoring
from audiotool.tasks.inference import InferenceTask
from audiotool.tasks.options import EnhancementOptions

class Declip(InferenceTask):
    """Take the clipping out of speech."""

    name = "declip"
    verb = "declipping"
    done = "declipped"
    options_class = EnhancementOptions
    scoring = Scoring(("si_sdr",), best="si_sdr")
    example = "noisy"
'''
