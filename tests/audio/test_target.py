"""`Target`: what it takes for the outputs of an input."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audiotool.audio.target import Target
from audiotool.errors import InputError


class OwnPath(os.PathLike[str]):
    """A path of another package."""

    def __fspath__(self) -> str:
        return "c.wav"


def test_every_kind_of_path_is_taken() -> None:
    target = Target(["a.wav", Path("b.wav"), OwnPath()], OwnPath(), bitrate=np.float32(64))  # type: ignore[arg-type]
    assert target.places == ["a.wav", "b.wav", "c.wav", "c.wav"]


@pytest.mark.parametrize(
    ("stems", "options", "message"),
    [
        ("o.wav", {}, "stems are a tuple of paths, one of each stem, got 'o.wav'"),
        (Path("o.wav"), {}, r"stems are a tuple of paths, one of each stem, got .*o\.wav"),
        ((5,), {}, "a path is a str or a Path, got int"),
        ((b"o.wav",), {}, "a path is a str or a Path, got bytes"),
        (("o.wav",), {"residual": 5}, "a path is a str or a Path, got int"),
        (("o.wav",), {"format": 3}, "a format is a str, got 3"),
        (("o.wav",), {"subtype": 24}, "a subtype is a str, got 24"),
        (("o.wav",), {"bitrate": "64"}, "a bitrate is a number of kbit/s, got '64'"),
        (("o.wav",), {"bitrate": True}, "a bitrate is a number of kbit/s, got True"),
    ],
)
def test_values_of_other_types_are_refused(stems: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Target(stems, **options)
