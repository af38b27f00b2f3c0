"""The light installation, rebuilt from the one the tests run in: what audiotool needs, and nothing else."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

import audiotool
from kit.patience import PATIENCE

ROOT = Path(audiotool.__file__).parents[1]


def core_requirements() -> list[str]:
    """The distributions that `pyproject.toml` needs without any extra."""
    document = (ROOT / "pyproject.toml").read_text()
    begin = document.index("dependencies = [") + len("dependencies = [")
    lines = document[begin : document.index("]", begin)].splitlines()
    return [line.split('"')[1] for line in lines if line.strip().startswith('"')]


def link_closure(folder: Path, requirements: Sequence[str]) -> None:
    """Link everything that distributions install, and those they need, into a folder of packages."""
    waiting, done = [Requirement(text) for text in requirements], set()
    while waiting:
        requirement = waiting.pop()
        name = requirement.name.lower().replace("_", "-")
        if name in done or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        done.add(name)
        distribution = importlib.metadata.distribution(name)
        waiting += [Requirement(text) for text in distribution.requires or ()]
        for file in distribution.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(str(distribution.locate_file(top)))


class LightInstallation:
    """Runs the project with the core's packages alone.

    Args:
        folder: an empty one, for the links.
        extra: further requirements.
    """

    def __init__(self, folder: Path, extra: Sequence[str] = ()) -> None:
        self.folder = folder
        link_closure(folder, [*core_requirements(), *extra])

    def run(self, *words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        """`python WORDS`, its output as text."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(self.folder), str(ROOT)))}
        command = [sys.executable, "-S", *map(str, words)]
        return subprocess.run(  # type: ignore[call-overload]
            command, capture_output=True, text=True, timeout=PATIENCE, env=environment, **options
        )

    def audiotool(self, *words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        """The command."""
        return self.run("-m", "audiotool", *words, **options)
