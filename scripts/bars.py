"""Bars: thresholds for measured numbers, printed beside them."""

from __future__ import annotations


def at_most(value: float, bar: float) -> str:
    """Return the bar that a value may not pass: (at most 2.2: pass)."""
    return f"(at most {bar:.3g}: {'pass' if value <= bar else 'FAIL'})"


def at_least(value: float, bar: float) -> str:
    """Return the bar that a value has to reach: (at least 1.9: pass)."""
    return f"(at least {bar:.3g}: {'pass' if value >= bar else 'FAIL'})"
