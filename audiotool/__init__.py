"""audiotool: speech enhancement and vocoding.

    import audiotool

    pipeline = audiotool.load("denoise")
    enhanced = pipeline(waveform, sample_rate)

Names are imported when they are first used, so that the command starts quickly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from audiotool.version import __version__

if TYPE_CHECKING:
    from audiotool.audio.outputs import write
    from audiotool.audio.reader import read
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
    from audiotool.metrics.score import score
    from audiotool.pipeline import Pipeline
    from audiotool.streaming.live_stream import LiveStream
    from audiotool.streaming.session import Settings
    from audiotool.streaming.state import StreamState
    from audiotool.tasks.load import load, load_model

_HOMES = {
    "load": "audiotool.tasks.load",
    "load_model": "audiotool.tasks.load",
    "Pipeline": "audiotool.pipeline",
    "LiveStream": "audiotool.streaming.live_stream",
    "Settings": "audiotool.streaming.session",
    "StreamState": "audiotool.streaming.state",
    "Metadata": "audiotool.checkpoint",
    "read": "audiotool.audio.reader",
    "score": "audiotool.metrics.score",
    "write": "audiotool.audio.outputs",
    "AudiotoolError": "audiotool.errors",
    "CheckpointError": "audiotool.errors",
    "DependencyError": "audiotool.errors",
    "DeviceError": "audiotool.errors",
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
    "InputError",
    "LiveStream",
    "Metadata",
    "Pipeline",
    "PlanError",
    "RecipeError",
    "Settings",
    "StreamError",
    "StreamState",
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
