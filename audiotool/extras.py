"""Optional packages: if one is missing, a message names it and the extra that installs it."""

from __future__ import annotations

import importlib.util
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


def install(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def is_there(module: str) -> bool:
    """Whether a module can be found; nothing is imported."""
    if module in sys.modules:
        return sys.modules[module] is not None
    return importlib.util.find_spec(module) is not None


def require(module: str, purpose: str) -> None:
    """Check that a module is installed.

    Args:
        purpose: the beginning of the message, which names the feature that needs the module.
    Raises:
        DependencyError: it is not installed; the message has the command that installs it.
    """
    if not is_there(module):
        raise DependencyError(f"{purpose} needs {module}, which is not installed: {install(EXTRAS[module])}")


def require_extra(extra: str, purpose: str) -> None:
    """Check that all modules of an extra are installed; arguments and errors as of `require`."""
    missing = [
        module for module, extra_name in EXTRAS.items() if extra_name == extra and not is_there(module)
    ]
    if missing:
        raise DependencyError(f"{purpose} needs {', '.join(missing)}, not installed here: {install(extra)}")


def explained(error: ImportError) -> DependencyError | None:
    """Return the error to raise for a failed import of an optional package; None for any other import."""
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS or is_there(module):
        return None
    return DependencyError(f"this needs {module}, which is not installed: {install(EXTRAS[module])}")
