"""What the parts of a stream carry from block to block, as plain values: taken out, checked, put back.

A value is None, a number, a text or an array, or a dict, list or tuple of values.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from audiotool.errors import StreamError

Value = Any
"""See the module docstring."""

DAMAGED = "this state of a stream is damaged, or was not made by `state()`"


class Carrier:
    """Base of the parts of a stream that remember something.

    Class attributes:
        carries: names of the attributes that change as a stream goes; some may be carriers themselves.
    """

    carries: ClassVar[tuple[str, ...]] = ()

    def state(self) -> Value:
        """What is carried now; it stays as it is when the stream goes on."""
        return {name: _taken(getattr(self, name)) for name in self.carries}

    def restore(self, state: Value) -> None:
        """Go on from what another carrier, made alike, carried.

        Raises:
            StreamError: it carries something else.
        """
        if not isinstance(state, dict) or state.keys() != set(self.carries):
            raise StreamError(DAMAGED)
        for name in self.carries:
            own = getattr(self, name)
            if isinstance(own, Carrier):
                own.restore(state[name])
            else:
                check_alike(own, state[name])
                setattr(self, name, _taken(state[name]))


def check_alike(own: Value, other: Value) -> None:
    """Refuse a value of another kind than one's own; arrays may differ in length. None is of any kind.

    Raises:
        StreamError: they differ.
    """
    if own is None or other is None:
        return
    if type(own) is not type(other):
        raise StreamError(DAMAGED)
    if isinstance(own, np.ndarray) and (own.dtype, own.ndim) != (other.dtype, other.ndim):
        raise StreamError(DAMAGED)
    if isinstance(own, int) and other < 0:
        raise StreamError(DAMAGED)


def _taken(value: Value) -> Value:
    if isinstance(value, Carrier):
        return value.state()
    if isinstance(value, np.ndarray):
        return value.copy()
    return list(value) if isinstance(value, list) else value
