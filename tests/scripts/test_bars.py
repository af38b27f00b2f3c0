"""scripts/bars.py: a number on its bar passes, one past it does not."""

from __future__ import annotations

import bars


def test_a_bar() -> None:
    assert bars.at_most(2.2, 2.2) == "(at most 2.2: pass)"
    assert bars.at_most(2.21, 2.2) == "(at most 2.2: FAIL)"
    assert bars.at_least(1.9, 1.9) == "(at least 1.9: pass)"
    assert bars.at_least(1.89, 1.9) == "(at least 1.9: FAIL)"
