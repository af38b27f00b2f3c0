"""Optional packages: if one is missing or too old, a message names it and the extra that installs it."""

from __future__ import annotations

import functools
import importlib.util
import re
import sys
from collections.abc import Sequence

from audiotool.errors import DependencyError

DISTRIBUTION = "audiotool-speech"

EXTRAS = {
    "torch": "torch",
    "torchaudio": "torch",
    "pydantic": "train",
    "scipy": "train",
    "lightning_fabric": "train",
    "tensorboard": "train",
    "soxr": "resampling",
    "pesq": "pesq",
    "pystoi": "stoi",
    "torchmetrics": "metrics",
    "speechmos": "mos",
    "pyloudnorm": "loudness",
    "mapss": "mapss",
    "av": "media",
    "h5py": "keras",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "matplotlib": "plots",
    "starlette": "serve",
    "uvicorn": "serve",
    "websockets": "serve",
    "ray": "cluster",
    "fsspec": "remote",
    "s3fs": "remote",
    "sounddevice": "live",
}
"""Modules that are imported where they are used -> the extra that installs each."""


PORTAUDIO = "apt-get install libportaudio2, brew install portaudio"
"""Commands that install the library under sounddevice, whose wheels for Linux have none."""

MAPSS = (
    "python3 -m venv ~/mapss && ~/mapss/bin/pip install mapss-measures"
    " && export AUDIOTOOL_MAPSS_PYTHON=~/mapss/bin/python"
)
"""Line for a shell: mapss-measures in an environment of its own, as it takes only old versions of numpy and
others."""


def modules_of(extra: str) -> list[str]:
    """Return the modules that an extra installs."""
    return [module for module, name in EXTRAS.items() if name == extra]


def distribution_of(module: str) -> str:
    """Return the name of the distribution that a module of `EXTRAS` is in."""
    return module.replace("_", "-")


def install(extra: str) -> str:
    """Return the command that installs an extra, or several with commas between.

    Its quotes are those that every shell takes, cmd.exe too.
    """
    return installing(f'"{DISTRIBUTION}[{extra}]"')


def installing(words: str) -> str:
    """Return the command that installs into this environment: pip's, or uv's where it has no pip."""
    if is_there("pip"):
        return f"pip install {words}"
    return f"uv pip install {words} --python {quoted(sys.executable)}"


def quoted(word: str) -> str:
    """Return a word for this system's shell, in quotes where it needs some."""
    import shlex
    import subprocess

    return subprocess.list2cmdline([word]) if sys.platform == "win32" else shlex.quote(word)


def is_there(module: str) -> bool:
    """Whether a module can be found; nothing is imported."""
    if module in sys.modules:
        return sys.modules[module] is not None
    return importlib.util.find_spec(module) is not None


def require(modules: str | Sequence[str], purpose: str, extra: str | None = None) -> None:
    """Check that modules are installed, of versions that our metadata accept.

    Metadata take some 30 ms to read: a module is required where it is used, and not where a program starts.

    Args:
        modules: one, or all that the feature needs, so that one command installs them.
        purpose: the beginning of the message, which names the feature.
        extra: one that brings all of them; None takes those of `EXTRAS`.
    Raises:
        DependencyError: one is not installed, or too old; the message has the command that installs it.
    """
    needed = [modules] if isinstance(modules, str) else modules
    missing = [module for module in needed if not is_there(module)]
    if missing:
        which = f"which {'are' if missing[1:] else 'is'} not installed"
        extras = extra or ",".join(dict.fromkeys(EXTRAS[module] for module in missing))
        raise DependencyError(f"{purpose} needs {', '.join(missing)}, {which}: {install(extras)}")
    for module in needed:
        distribution = distribution_of(module)
        version, accepted = version_of(distribution), accepted_versions().get(distribution, "")
        if version is not None and not satisfies(version, accepted):
            found = f"{version} is installed: {install(extra or EXTRAS[module])}"
            raise DependencyError(f"{purpose} needs {module} {accepted}, {found}")


def require_extra(extra: str, purpose: str) -> None:
    """Check all modules of an extra; purpose and errors as of `require`."""
    require(modules_of(extra), purpose, extra)


def explained(error: ImportError, purpose: str) -> DependencyError | None:
    """Return the error to raise for a failed import of an optional package, or from one that is too old; None
    for any other import. The purpose is as of `require`."""
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS:
        return None
    try:
        require(module, purpose)
    except DependencyError as reason:
        return reason
    return None


@functools.cache
def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution; None if it is not installed.

    Plans ask for every file, and a search of the folders of packages takes 0.3 ms.
    """
    import importlib.metadata

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def accepted_versions() -> dict[str, str]:
    """Return accepted versions by lower-case distribution name, extras included, from our metadata."""
    import importlib.metadata

    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    found = {}
    for line in lines:
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*([^;]*)(;.*extra.*)?$", line)
        if match:
            found[match.group(1).lower()] = match.group(2).strip()
    return found


def satisfies(version: str, accepted: str) -> bool:
    """Return whether a release number lies in a range of conditions >= and <."""
    for condition in filter(None, (part.strip() for part in accepted.split(","))):
        match = re.match(r"(>=|<)\s*([\d.]+)$", condition)
        if match is None:
            continue
        number, limit = _release(version), _release(match.group(2))
        if (match.group(1) == ">=") != (number >= limit):
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    """Parse "2.11.0+cpu" to (2, 11): integers without trailing zeros."""
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(n) for n in match.group().split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
