"""Released weights in streams: a live stream across a saved state equals the whole; latencies are true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from kit.released import ROOT, load, needs_released

from audiotool.engines.pytorch import TorchEngine
from audiotool.importers.base import import_checkpoint
from audiotool.pipeline import Pipeline
from audiotool.streaming.state import StreamState

FILES = {
    "deepfilternet3": "deepfilternet3/DeepFilterNet3_onnx.tar.gz",
    "dtln": "dtln/model_1.onnx",
    "fastenhancer": "fastenhancer_s/fastenhancer_s.onnx",
    "gtcrn": "gtcrn/model_trained_on_dns3.tar",
}


@needs_released
@pytest.mark.parametrize("name", FILES)
def test_a_saved_live_stream_equals_the_whole(name: str, tmp_path: Path) -> None:
    model, _ = import_checkpoint(ROOT / FILES[name], name)
    pipeline = Pipeline(TorchEngine(model), "denoise")
    rate = model.sample_rate
    x = load("deepfilternet3/io.npz" if rate == 48000 else "inputs_16k.npz")["x.s5"][: 3 * rate // 2].numpy()
    whole = pipeline(x, rate)
    first, parts = pipeline.live(rate), []
    for block in np.array_split(x[:rate], 37):
        parts.append(first.feed(block))
    first.state().save(tmp_path / "state.safetensors")
    later = pipeline.live(rate, state=StreamState.load(tmp_path / "state.safetensors"))
    fed, got = rate, sum(map(len, parts))
    for block in np.array_split(x[rate:], 211):
        parts.append(later.feed(block))
        fed, got = fed + len(block), got + len(parts[-1])
        assert fed - got <= later.latency
    parts.append(np.asarray(later.flush()))
    streamed = np.concatenate(parts)
    assert streamed.shape == whole.shape
    assert np.abs(streamed - whole).max() <= 1e-5 * np.abs(whole).max()


@needs_released
@pytest.mark.parametrize("name", FILES)
def test_the_latency_is_true(name: str) -> None:
    """Nothing earlier than an impulse's latency changes, and something within the next hop does."""
    model, _ = import_checkpoint(ROOT / FILES[name], name)
    rate = model.sample_rate
    x = load("deepfilternet3/io.npz" if rate == 48000 else "inputs_16k.npz")["x.s0"][:rate].clone()
    changed, at = x.clone(), rate // 2 + 7
    changed[at] += 0.5
    with torch.inference_mode():
        before, after = (model.process(wave[None, None])[0, 0] for wave in (x, changed))
    first = int((before != after).nonzero()[0])
    assert at - model.latency <= first <= at - model.latency + model.hop_length
