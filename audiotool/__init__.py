"""audiotool: speech enhancement and vocoding.

    import audiotool

    pipeline = audiotool.load("denoise")
    enhanced = pipeline(waveform, sample_rate)

Names are imported when they are first used, so that the command starts quickly.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from audiotool.version import __version__

# Imported without this, by us or by other packages, onnxruntime keeps an identifier of the device and sends
# events to Microsoft. A user's own value holds, and child processes inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from audiotool.audio.outputs import write
    from audiotool.audio.raw import Raw
    from audiotool.audio.reader import read
    from audiotool.audio.target import Target
    from audiotool.checkpoint import Metadata
    from audiotool.errors import (
        AudiotoolError,
        CheckpointError,
        DependencyError,
        DeviceError,
        InputError,
        PlanError,
        RecipeError,
        StreamError,
    )
    from audiotool.files.processor import FileResult, Written
    from audiotool.metrics.score import score
    from audiotool.metrics.values import Value
    from audiotool.pipeline import Pipeline
    from audiotool.streaming.live_stream import LiveStream
    from audiotool.streaming.session import Settings
    from audiotool.streaming.state import StreamState
    from audiotool.streaming.streams import FullError, SharedStream, Streams
    from audiotool.tasks.load import load, load_model

_HOMES = {
    "load": "audiotool.tasks.load",
    "load_model": "audiotool.tasks.load",
    "Pipeline": "audiotool.pipeline",
    "LiveStream": "audiotool.streaming.live_stream",
    "Settings": "audiotool.streaming.session",
    "SharedStream": "audiotool.streaming.streams",
    "StreamState": "audiotool.streaming.state",
    "Streams": "audiotool.streaming.streams",
    "Metadata": "audiotool.checkpoint",
    "FileResult": "audiotool.files.processor",
    "Raw": "audiotool.audio.raw",
    "Target": "audiotool.audio.target",
    "Value": "audiotool.metrics.values",
    "Written": "audiotool.files.processor",
    "read": "audiotool.audio.reader",
    "score": "audiotool.metrics.score",
    "write": "audiotool.audio.outputs",
    "AudiotoolError": "audiotool.errors",
    "CheckpointError": "audiotool.errors",
    "DependencyError": "audiotool.errors",
    "DeviceError": "audiotool.errors",
    "FullError": "audiotool.streaming.streams",
    "InputError": "audiotool.errors",
    "PlanError": "audiotool.errors",
    "RecipeError": "audiotool.errors",
    "StreamError": "audiotool.errors",
}

__all__ = [
    "AudiotoolError",
    "CheckpointError",
    "DependencyError",
    "DeviceError",
    "FileResult",
    "FullError",
    "InputError",
    "LiveStream",
    "Metadata",
    "Pipeline",
    "PlanError",
    "Raw",
    "RecipeError",
    "Settings",
    "SharedStream",
    "StreamError",
    "StreamState",
    "Streams",
    "Target",
    "Value",
    "Written",
    "__version__",
    "load",
    "load_model",
    "read",
    "score",
    "write",
]


if not TYPE_CHECKING:  # with it, every misspelt name would be one of type Any

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'audiotool' has no attribute '{name}'")
        return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
