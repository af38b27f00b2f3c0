"""Optional packages: if one is missing or too old, a message names it and the extra that installs it."""

from __future__ import annotations

import functools
import importlib.util
import re
import sys

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
    """Return the command that installs an extra. Its quotes are those that every shell takes, cmd.exe too."""
    return f'pip install "{DISTRIBUTION}[{extra}]"'


def is_there(module: str) -> bool:
    """Whether a module can be found; nothing is imported."""
    if module in sys.modules:
        return sys.modules[module] is not None
    return importlib.util.find_spec(module) is not None


def require(module: str, purpose: str) -> None:
    """Check that a module is installed, of a version that our metadata accept.

    Metadata take some 30 ms to read: a module is required where it is used, and not where a program starts.

    Args:
        purpose: the beginning of the message, which names the feature that needs the module.
    Raises:
        DependencyError: it is not installed, or too old; the message has the command that installs it.
    """
    if not is_there(module):
        raise DependencyError(f"{purpose} needs {module}, which is not installed: {install(EXTRAS[module])}")
    _require_version(module, purpose)


def require_extra(extra: str, purpose: str) -> None:
    """Check all modules of an extra; arguments and errors as of `require`."""
    modules = modules_of(extra)
    missing = [module for module in modules if not is_there(module)]
    if missing:
        raise DependencyError(f"{purpose} needs {', '.join(missing)}, not installed here: {install(extra)}")
    for module in modules:
        _require_version(module, purpose)


def _require_version(module: str, purpose: str) -> None:
    """Check the version of an installed module.

    Raises:
        DependencyError: it is outside the range that our metadata accept.
    """
    distribution = distribution_of(module)
    version, accepted = version_of(distribution), accepted_versions().get(distribution, "")
    if version is not None and not satisfies(version, accepted):
        found = f"{version} is installed: {install(EXTRAS[module])}"
        raise DependencyError(f"{purpose} needs {module} {accepted}, {found}")


def explained(error: ImportError) -> DependencyError | None:
    """Return the error to raise for a failed import of an optional package, or from one that is too old; None
    for any other import."""
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS:
        return None
    try:
        require(module, "this")
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
