"""Compiled C++: a GRU in training is nn.GRU with it, and without a compiler, too."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from audiotool.models.layers import compiled, gru_steps
from audiotool.models.layers.recurrent import GRU

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of compiled libraries, which this process has not asked for any yet."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    monkeypatch.setattr(compiled, "library", compiled.library.__wrapped__)
    return tmp_path / "cache" / "compiled"


def gradients(layer: nn.GRU, x: Tensor, begin: Tensor) -> list[Tensor]:
    y, last = layer(x, begin)
    loss = (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum() + last.cos().sum()
    return [y, last, *torch.autograd.grad(loss, [x, begin, *layer.parameters()])]


@needs_compiler
@pytest.mark.parametrize("size", [8, 40, 128])
@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (3, 2), (2, 5), (40, 7), (25, 64)])
def test_values_and_gradients_are_those_of_torch(size: int, steps: int, batch: int) -> None:
    torch.manual_seed(0)
    ours, torchs = GRU(5, size), nn.GRU(5, size)
    torchs.load_state_dict(ours.state_dict())
    x = (3 * torch.randn(steps, batch, 5)).requires_grad_()
    begin = torch.randn(1, batch, size, requires_grad=True)
    assert gru_steps.serves(x, size)
    for a, b in zip(gradients(ours, x, begin), gradients(torchs, x, begin), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-6 * float(b.detach().abs().max()))


@needs_compiler
def test_saturated_gates_are_finite() -> None:
    torch.manual_seed(0)
    ours, torchs = GRU(8, 8), nn.GRU(8, 8)
    torchs.load_state_dict(ours.state_dict())
    x = torch.tensor([-1e30, -1e4, -90.0, 90.0, 1e4, 1e30])[:, None, None].repeat(1, 2, 8).requires_grad_()
    begin = torch.zeros(1, 2, 8, requires_grad=True)
    for a, b in zip(gradients(ours, x, begin)[:2], gradients(torchs, x, begin)[:2], strict=True):
        torch.testing.assert_close(a, b)


@needs_compiler
def test_what_is_not_finite_stays_so() -> None:
    x = torch.zeros(4, 3, 8)
    x[1, 2, 0] = torch.nan
    y, _ = GRU(8, 8)(x)
    assert y.requires_grad
    assert y.isnan().any(-1).nonzero().tolist() == [[1, 2], [2, 2], [3, 2]]


def test_gradients_without_it_are_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gru_steps, "library", lambda _: None)
    ours, torchs = GRU(5, 8), nn.GRU(5, 8)
    torchs.load_state_dict(ours.state_dict())
    x, begin = torch.randn(9, 3, 5, requires_grad=True), torch.randn(1, 3, 8, requires_grad=True)
    assert not gru_steps.serves(x, 8)
    for a, b in zip(gradients(ours, x, begin), gradients(torchs, x, begin), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.detach().abs().max()))


@pytest.mark.parametrize(("size", "kind"), [(12, torch.float32), (8, torch.float64)])
def test_other_sizes_and_types_are_computed_without_it(size: int, kind: torch.dtype) -> None:
    x = torch.randn(4, 2, 5, dtype=kind, requires_grad=True)
    assert not gru_steps.serves(x, size)
    y, _ = GRU(5, size).to(kind)(x)
    y.sum().backward()
    assert x.grad is not None


@needs_compiler
def test_it_is_compiled_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled.library(gru_steps.SOURCE) is not None
    [made] = cache.iterdir()
    monkeypatch.setattr(compiled, "_compile", lambda *_: pytest.fail("compiled again"))
    assert compiled.library(gru_steps.SOURCE) is not None
    assert made.stat().st_uid == os.geteuid()


def test_without_a_compiler(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -x")
    assert compiled.library(gru_steps.SOURCE) is None
    assert not cache.exists()


@needs_compiler
@pytest.mark.parametrize("text", ["no C++", "#error"])
def test_a_source_that_does_not_compile(cache: Path, tmp_path: Path, text: str) -> None:
    source = tmp_path / "broken.cpp"
    source.write_text(text)
    assert compiled.library(source) is None
    assert not list(cache.iterdir())


@needs_compiler
def test_a_library_is_not_loaded_from_a_folder_that_others_can_write_to(cache: Path) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert compiled.library(gru_steps.SOURCE) is None
    assert not list(cache.iterdir())
