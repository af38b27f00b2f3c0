"""Checkpoints with names: those that are bundled with audiotool, and those that `models import` kept.

The bundled ones are in `checkpoints/`, with the default of each task in `defaults.json` and the hash of each
file in `SHA256SUMS`; the imported ones are in the user's folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from audiotool.checkpoint import Metadata, files_of, read_metadata, sha256
from audiotool.errors import CheckpointError, UnknownCheckpoint
from audiotool.text import nearest
from audiotool.value_types import quote

FULL_BAND_HZ = 24000
"""Sample rate in Hz above which a task may have another default checkpoint."""

MANIFEST = "SHA256SUMS"

SUCCEEDED = {
    "wideband-16k": "super-resolve-48k with --rate 16000",
    "wideband-24k": "super-resolve-48k with --rate 24000",
}
"""Bundled checkpoints of earlier versions -> their replacements."""


def bundled_root(kind: str) -> Path:
    """Return the folder of the bundled "checkpoints" or "recipes": in the wheel, or at the top of a working
    copy.

    Raises:
        CheckpointError: audiotool was imported from a zip file.
    """
    package = Path(__file__).parent
    if not package.is_dir():
        raise CheckpointError(
            f"audiotool cannot run from a zip file, {package.parent}: its checkpoints must be files."
            " Unpack it; pip installs a wheel"
        )
    inside = package / "bundled" / kind
    return inside if inside.is_dir() else package.parent / kind


def bundled() -> dict[str, Path]:
    """Return the paths of the bundled checkpoints by name."""
    return {p.stem: p for p in sorted(bundled_root("checkpoints").glob("*.safetensors"))}


def user_root() -> Path:
    """Return the folder of imported checkpoints, in AUDIOTOOL_HOME or the user's data folder."""
    home = os.environ.get("AUDIOTOOL_HOME")
    if home:
        return Path(home).expanduser() / "checkpoints"
    import platformdirs

    return Path(platformdirs.user_data_dir("audiotool", appauthor=False)) / "checkpoints"


def place_for(name: str) -> Path:
    """Return the path of an imported checkpoint of that name.

    Raises:
        CheckpointError: the name is not valid, or that of a bundled checkpoint or of a task, in any case.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise CheckpointError(f"'{name}' is no name: letters, digits, '.', '_' and '-' make one")
    for known, what in ((bundled(), "bundled checkpoint"), (defaults() | defaults(FULL_BAND_HZ + 1), "task")):
        if name.lower() in map(str.lower, known):
            raise CheckpointError(f"'{name}' is a {what}: choose another with --name")
    return user_root() / f"{name}.safetensors"


def imported() -> dict[str, Path]:
    """Return the paths of imported checkpoints by name, those with the name of a bundled one left out."""
    own = bundled()
    found = {p.stem: p for p in sorted(user_root().glob("*.safetensors"))}
    return {name: path for name, path in found.items() if name not in own}


def named() -> dict[str, Path]:
    """Return the paths of all named checkpoints: the bundled, then the imported ones."""
    return {**bundled(), **imported()}


def made_for(task: str | None) -> dict[str, Path]:
    """Return the paths of the named checkpoints of a task; damaged ones are left out."""
    found = {}
    for name, path in named().items():
        # The message of a damaged one belongs to the run that asks for it.
        with contextlib.suppress(CheckpointError):
            if read_metadata(path).task == task:
                found[name] = path
    return found


def name_of(path: Path) -> str | None:
    """Return the name of a file of `named`; None for any other file."""
    places = {place.absolute(): name for name, place in named().items()}
    return places.get(path.absolute())


def called(path: Path) -> str:
    """Return what a checkpoint is called in reports: its name, or the path of a file without one."""
    return name_of(path) or str(path)


def resolve(name_or_path: str | Path) -> Path:
    """Return the path of a checkpoint: of a bundled or imported name, or of a file.

    Raises:
        UnknownCheckpoint: neither exists; the message lists the names.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise UnknownCheckpoint(f"a checkpoint is a name or a path, got {quote(name_or_path)}")
    for known in (bundled, imported):
        if (found := known().get(str(name_or_path))) is not None:
            return found
    if os.path.isfile(name_or_path):  # unlike `Path.is_file`, also of a name that is too long
        return Path(name_or_path)
    if str(name_or_path) in SUCCEEDED:
        raise UnknownCheckpoint(
            f"'{name_or_path}' is no longer bundled: its work is done by {SUCCEEDED[str(name_or_path)]}"
        )
    raise UnknownCheckpoint(
        f"no checkpoint '{name_or_path}': it is neither a file nor one of {', '.join(named()) or '(none)'}"
        f"{nearest(str(name_or_path), list(named()))}"
    )


def defaults(sample_rate: int = 0) -> dict[str, str]:
    """Return the default checkpoint of each task, from checkpoints/defaults.json.

    Args:
        sample_rate: Hz of the recording; above `FULL_BAND_HZ` some tasks have another default.
    """
    listing = bundled_root("checkpoints") / "defaults.json"
    found = json.loads(listing.read_text()) if listing.is_file() else {}
    names: dict[str, str] = found.get("any rate", {})
    return names | found.get("full band", {}) if sample_rate > FULL_BAND_HZ else names


def default_for(task: str, sample_rate: int = 0) -> Path:
    """Return the path of a task's default checkpoint.

    Args:
        sample_rate: as `defaults`.
    Raises:
        CheckpointError: no checkpoint for that task is bundled.
    """
    names = defaults(sample_rate)
    if task not in names:
        raise CheckpointError(
            f"no bundled checkpoint serves the task '{task}': give --checkpoint PATH, or --recipe NAME of one"
            " that you trained (`audiotool recipes list`)"
        )
    return resolve(names[task])


def bundled_for(task: str, suits: Callable[[Metadata], bool]) -> str | None:
    """Return the name of the first bundled checkpoint of a task that suits, else None."""
    for name, path in bundled().items():
        metadata = read_metadata(path)
        if metadata.task == task and suits(metadata):
            return name
    return None


def verify() -> dict[str, str]:
    """Check bundled checkpoints, graphs and cards of graphs against the manifest.

    Returns:
        File name to "ok", "changed", "missing" or "unlisted".
    """
    root = bundled_root("checkpoints")
    manifest = root / MANIFEST
    listed: dict[str, str] = {}
    for line in manifest.read_text().splitlines() if manifest.is_file() else ():
        digest, name = line.split(maxsplit=1)
        listed[name] = digest
    result = {}
    for name, digest in listed.items():
        path = root / name
        result[name] = "missing" if not path.is_file() else "ok" if sha256(path) == digest else "changed"
    for file in (file for path in bundled().values() for file in files_of(path)):
        result.setdefault(file.name, "unlisted")
    return result
