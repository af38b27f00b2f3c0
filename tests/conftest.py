"""Fixtures that many tests share: threads, a tiny denoiser, a tiny vocoder."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Workers of pytest-xdist share the cores; so do the child processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from audiotool.extras import install, is_there

if TYPE_CHECKING:
    import audiotool
    from audiotool.models.base import Model

if is_there("torch"):  # not in the installation of `make test-oldest`
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _nothing_imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees what its user has imported or decoded, nor adds to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIOTOOL_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _signals_are_heeded() -> Iterator[None]:
    """Children inherit that a signal is ignored: by nohup, in the background, since a command has ended."""
    numbers = [signal.SIGTERM, *([] if sys.platform == "win32" else [signal.SIGHUP])]
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


FAST = {"audio", "docs", "dsp", "files", "losses", "metrics", "tasks"}
"""Packages whose tests train nothing and start few processes: `make fast`, under a minute of CPU time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test `fast` or `slow` by its package, unless it says itself what it is."""
    tests = Path(__file__).parent
    for item in items:
        package = item.path.relative_to(tests).parts[0]
        if not any(item.get_closest_marker(mark) for mark in ("fast", "slow")):
            item.add_marker("fast" if package in FAST else "slow")


def _save_tiny(path: Path, **config: Any) -> Path:
    pytest.importorskip("torch", reason=install("torch"))
    from kit.checkpoints import save_tiny

    return save_tiny(path, **config)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CleanUNet of a few thousand weights, not trained, causal, of running level."""
    return _save_tiny(tmp_path_factory.mktemp("checkpoints") / "tiny.safetensors")


@pytest.fixture(scope="session")
def pipeline(tiny_checkpoint: Path) -> audiotool.Pipeline:
    """That denoiser, loaded."""
    import audiotool

    return audiotool.load(tiny_checkpoint, device="cpu")


@pytest.fixture(scope="session")
def tiny_utterance_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the published whole-utterance level."""
    path = tmp_path_factory.mktemp("checkpoints") / "tiny-utterance.safetensors"
    return _save_tiny(path, normalise="utterance")


@pytest.fixture
def vocos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A tiny causal Vocos, in vocos.safetensors of an otherwise empty working folder."""
    pytest.importorskip("torch", reason=install("torch"))
    from kit.vocoders import MEL, VOCOS, save_vocoder

    monkeypatch.chdir(tmp_path)
    return save_vocoder(tmp_path / "vocos.safetensors", "vocos", {**VOCOS, "mel": MEL})
