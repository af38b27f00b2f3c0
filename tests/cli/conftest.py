"""A command that tests of `audiotool vocode` share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import Result

from audiotool.models.base import Model


@pytest.fixture
def vocode(vocos: Model) -> Callable[..., Result]:
    """Run the command with `vocos` in this process."""
    from kit.vocoders import run

    return lambda *arguments: run("--checkpoint", "vocos.safetensors", *arguments)
