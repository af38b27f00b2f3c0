"""Settings of PyTorch by the caller do not affect a model, and a model does not change them."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from kit.audio import speech_like
from kit.models import CAUSAL, build, make_input
from kit.patience import PATIENCE
from torch import Tensor

import audiotool
from audiotool.engines.pytorch import TorchEngine
from audiotool.models.base import Model, State


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> audiotool.Pipeline:
    return audiotool.load(tiny_checkpoint, device="cpu", engine="torch")


@pytest.mark.parametrize("name", ["band-split-gru", "gtcrn", "mp-senet", "vocos"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_stays_outside(name: str, dtype: torch.dtype) -> None:
    engine = TorchEngine(build(name))
    x = make_input(engine.model).numpy()
    expected = engine.process(x)
    with torch.autocast("cpu", dtype=dtype):
        np.testing.assert_array_equal(engine.process(x), expected)
        if engine.causal:
            state = engine.start()
            first, state = engine.step(x[..., : engine.hop_length * 3], state)
            rest, _ = engine.step(x[..., engine.hop_length * 3 :], state, final=True)
            joined = np.concatenate((first, rest), axis=-1)[..., : expected.shape[-1]]
            np.testing.assert_allclose(joined, expected, atol=1e-5 * np.abs(expected).max())
        assert torch.is_autocast_enabled("cpu")


def test_pipelines_answer_the_same_under_the_callers_modes(pipeline: audiotool.Pipeline) -> None:
    x = torch.from_numpy(speech_like(0.5, 16000)[0])
    expected = pipeline(x, 16000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(pipeline(x, 16000), expected)
        live = pipeline.live(16000)
        torch.testing.assert_close(torch.cat((live.feed(x), live.flush())), expected, atol=1e-5, rtol=0)
    with torch.enable_grad():
        assert not pipeline(x.clone().requires_grad_(), 16000).requires_grad
    assert not torch.is_inference_mode_enabled()


def _difference(pipeline: audiotool.Pipeline, x: np.ndarray, expected: np.ndarray, answers: object) -> None:
    answers.put(float(np.abs(pipeline(x, 16000) - expected).max()))  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:This process")
def test_a_pipeline_goes_on_in_a_child_that_was_forked(pipeline: audiotool.Pipeline) -> None:
    """Also when threads had been computing before: they stay behind."""
    context = multiprocessing.get_context("fork")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        x = speech_like(8.0, 16000)
        expected = pipeline(x, 16000)
        answers = context.Queue()
        children = [context.Process(target=_difference, args=(pipeline, x, expected, answers)) for _ in "ab"]
        for child in children:
            child.start()
        for child in children:
            child.join(PATIENCE)
            assert child.exitcode == 0
        assert max(answers.get(timeout=PATIENCE) for _ in children) <= 1e-5 * np.abs(expected).max()
        assert torch.get_num_threads() == 2
    finally:
        for child in children:
            child.kill()
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class HalfConfig:
    """No options."""


class Half(Model):
    """Halves its input, with nothing to train."""

    name = "half"
    config_class = HalfConfig
    sample_rate = 16000
    hop_length = 1

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        return x / 2, state


@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_a_model_without_weights_runs(dtype: torch.dtype | None) -> None:
    """In the type of its buffers, if it has some; counters tell no type."""
    model = Half(HalfConfig())
    model.register_buffer("calls", torch.zeros((), dtype=torch.int64))
    if dtype is not None:
        model.register_buffer("window", torch.ones(4, dtype=dtype))
    engine = TorchEngine(model)
    assert (engine.device_name, engine.parameters) == ("cpu", 0)
    x = speech_like(0.1, 16000)[None]
    found = engine.process(x)
    assert found.dtype == (np.float32 if dtype is None else np.float64)
    np.testing.assert_allclose(found, x / 2)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_state_is_not_changed_by_what_follows(name: str) -> None:
    """A stream can be taken up again where it was."""
    engine = TorchEngine(build(name))
    hop = engine.hop_length
    x = make_input(engine.model, 40 * hop).numpy()
    state = engine.start()
    for n in range(30):
        _, state = engine.step(x[..., n * hop : (n + 1) * hop], state)
    answers = []
    for _ in range(2):
        later = state
        parts = []
        for n in range(30, 40):
            y, later = engine.step(x[..., n * hop : (n + 1) * hop], later)
            parts.append(y)
        answers.append(np.concatenate(parts, axis=-1))
    np.testing.assert_array_equal(*answers)  # type: ignore[arg-type]
