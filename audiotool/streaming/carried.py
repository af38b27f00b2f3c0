"""The state that the parts of a stream carry from block to block, as plain values.

A value is None, a number, a string or an array, or a dict, list or tuple of values.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from audiotool.errors import StreamError

Value = Any
"""See the module docstring."""

DAMAGED = "this state of a stream is damaged, or was not made by `state()`"


class Carrier:
    """Base class of the parts of a stream that have state.

    Class attributes:
        carries: names of the attributes that hold the state. An attribute may be a carrier itself.
    """

    carries: ClassVar[tuple[str, ...]] = ()

    def state(self) -> Value:
        """Return a copy of the state, which does not change when the stream continues."""
        return {name: _copied(getattr(self, name)) for name in self.carries}

    def restore(self, state: Value) -> None:
        """Continue from the state of a carrier that was built with the same arguments.

        Raises:
            StreamError: the state has other names, types or numbers of axes.
        """
        if not isinstance(state, dict) or state.keys() != set(self.carries):
            raise StreamError(DAMAGED)
        for name in self.carries:
            own = getattr(self, name)
            if isinstance(own, Carrier):
                own.restore(state[name])
            else:
                check_alike(own, state[name])
                setattr(self, name, _copied(state[name]))


def check_alike(own: Value, other: Value) -> None:
    """Check that `other` has the type of `own`; arrays also the dtype and number of axes. None matches
    everything.

    Raises:
        StreamError: they differ, or `other` is a negative integer.
    """
    if own is None or other is None:
        return
    if type(own) is not type(other):
        raise StreamError(DAMAGED)
    if isinstance(own, np.ndarray) and (own.dtype, own.ndim) != (other.dtype, other.ndim):
        raise StreamError(DAMAGED)
    if isinstance(own, int) and other < 0:
        raise StreamError(DAMAGED)


def _copied(value: Value) -> Value:
    if isinstance(value, Carrier):
        return value.state()
    if isinstance(value, np.ndarray):
        return value.copy()
    return list(value) if isinstance(value, list) else value
