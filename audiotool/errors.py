"""All errors that a user can cause.

AudiotoolError
├── InputError             a file, its format, sample rate or channels
│   └── PlanError          inputs, outputs or options that do not fit each other; no job was started
├── CheckpointError        a checkpoint's hash, metadata, keys or shapes
│   ├── UnknownCheckpoint  a name that no checkpoint has
│   └── UnfitCheckpoint    a file that is no checkpoint, or one of another task
├── RecipeError            a recipe's key path or value
├── ExportError            a model that has no graph
├── StreamError            a stream used out of order (fed after its end, wrong shape)
├── DependencyError        a package that is missing or does not fit
└── DeviceError            a device that is not there or ran out of memory

A message says what happened, what was expected and what to do, in one line, without the credentials of the
URLs in it: the command line prints it as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from audiotool.text import without_credentials


class AudiotoolError(Exception):
    """Base class of all errors that the user can fix; `exit_code` is the exit code of the command."""

    exit_code = 1

    def __str__(self) -> str:
        return without_credentials(super().__str__())


class InputError(AudiotoolError):
    """An input or output file, its format, sample rate or channel count does not fit."""


class PlanError(InputError):
    """Inputs, outputs or options do not fit each other; found before any work began."""

    exit_code = 2


@contextlib.contextmanager
def as_plan_error() -> Iterator[None]:
    """Raise a `PlanError` in place of an `InputError`: no work has begun."""
    try:
        yield
    except PlanError:
        raise
    except InputError as error:
        raise PlanError(str(error)) from error


class CheckpointError(AudiotoolError):
    """A checkpoint cannot be read, does not match its model, or fails its hash."""


class UnknownCheckpoint(CheckpointError):
    """No checkpoint has the name that was given."""

    exit_code = 2


class UnfitCheckpoint(CheckpointError):
    """The file that was given is no checkpoint of audiotool, or one that was made for another task."""

    exit_code = 2


class RecipeError(AudiotoolError):
    """A recipe does not validate; the message names the file and the key path."""

    exit_code = 2


class ExportError(AudiotoolError):
    """A model cannot be exported; the message names the part that a graph cannot have."""


class StreamError(AudiotoolError):
    """A stream was fed after its end, or with a shape that differs from its beginning."""


class DependencyError(AudiotoolError):
    """A package is missing or does not fit the others; the message names the fix.

    Its exit code is that of errors found before any work; in a batch it fails one file, as others do.
    """

    exit_code = 2


class DeviceError(AudiotoolError):
    """The requested device does not exist or has no memory left."""

    exit_code = 2
