"""Private names of PyTorch are used in one module."""

from __future__ import annotations

import re
from pathlib import Path

import torch

import audiotool
from audiotool import compat

PRIVATE = re.compile(
    r"^\s*(from|import) torch[\w.]*\._|^\s*from torch[\w.]* import _|\btorch(\.\w+)*\._[a-z]\w*[(.]", re.M
)


def test_no_other_module_uses_private_names() -> None:
    root = Path(audiotool.__file__).parent
    found = [
        path.relative_to(root).as_posix() for path in root.rglob("*.py") if PRIVATE.search(path.read_text())
    ]
    assert found == ["compat.py"]


def test_private_functions_compute_known_values() -> None:
    start, end = torch.zeros(3), torch.ones(3)
    compat.lerp_([start], [end], 0.25)
    assert torch.equal(start, torch.full((3,), 0.25))
    v, g = torch.randn(4, 3, 5), torch.rand(4, 1, 1)
    expected = g * v / v.square().sum((1, 2), keepdim=True).sqrt()
    torch.testing.assert_close(compat.weight_norm(v, g, 0), expected)
    with compat.fake_tensors() as shapes:
        assert (shapes.from_tensor(v) @ shapes.from_tensor(torch.zeros(5, 7))).shape == (4, 3, 7)
