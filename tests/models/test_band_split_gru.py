"""The band-split GRU: edge of the deep filter, memories over all bands, warm-ups and learnt beginnings."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from audiotool.errors import CheckpointError
from audiotool.models.band_split_gru import BandSplitGRU, BandSplitGRUConfig, Memory
from audiotool.models.registry import MODELS


def build(**config: Any) -> Any:
    torch.manual_seed(0)
    return BandSplitGRU(BandSplitGRUConfig(**{"dim": 8, "layers": 2, **config})).eval()


@torch.no_grad()
@pytest.mark.parametrize(("hz", "sounds"), [(1000.0, True), (6000.0, False)])
def test_earlier_frames_serve_below_the_deep_filters_edge_alone(hz: float, sounds: bool) -> None:
    """With masks of zero, only the taps that look back can make a sound."""
    model = build(filter_taps=3, filter_below_hz=4000.0)
    for masks, taps in zip(model.masks, model.taps, strict=True):
        masks.weight.zero_()
        bias = masks.bias.zero_().unflatten(-1, (2, 1, taps, -1))
        bias[:, :, 0, :, 0] = -0.5  # the current frame's mask begins at a half
        bias[:, :, 0, :, 1:] = 1.0
    tone = torch.sin(2 * torch.pi * hz * torch.arange(8000) / 16000)[None, None]
    assert (model.process(tone)[..., 2000:6000].abs().max() > 0.1) == sounds


@torch.no_grad()
def test_a_memory_joins_a_trained_network_without_changing_it() -> None:
    trained, joined = build(), build(memory=6)
    joined.load_state_dict(trained.state_dict(), strict=False)
    x = torch.randn(1, 1, 4000)
    torch.testing.assert_close(joined.process(x), trained.process(x), atol=0, rtol=0)


@torch.no_grad()
def test_a_memory_connects_all_bands_over_time() -> None:
    torch.manual_seed(0)
    memory = Memory(bands=4, dim=8, units=6, learnt_start=False)
    torch.nn.init.normal_(memory.spread.weight)
    before, later = torch.randn(10, 1, 4, 8), torch.randn(10, 1, 4, 8)
    other = torch.cat((before[:, :, :1].flip(0), before[:, :, 1:]), dim=2)
    rows = [torch.cat((current, later)).flatten(0, 2) for current in (before, other)]
    answers = [memory(x, frames=20)[0].view(20, 1, 4, 8) for x in rows]
    assert (answers[0] - answers[1])[10:, :, 1:].abs().amax(dim=(0, 1, 3)).min() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize(("layers", "memory_every", "count"), [(2, 1, 2), (4, 2, 2), (3, 2, 1)])
def test_trained_memories_stream(layers: int, memory_every: int, count: int) -> None:
    model = build(memory=6, layers=layers, memory_every=memory_every)
    assert len(model.memories) == count
    for memory in model.memories:
        torch.nn.init.normal_(memory.spread.weight)
    x = torch.randn(1, 1, 4000)
    outputs, state = [], None
    for begin in range(0, 4000, 500):
        y, state = model.step(x[..., begin : begin + 500], state, final=begin == 3500)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, dim=-1)[..., :4000], model.process(x))


def test_bands_that_do_not_fill_the_spectrum_are_refused() -> None:
    with pytest.raises(CheckpointError, match="256 bins together, found 250"):
        BandSplitGRU.from_config({"bands": [[25, 10]]})


@torch.no_grad()
@pytest.mark.parametrize("memory", [0, 6])
def test_a_warmed_up_stream_goes_on_as_if_it_had_begun_before(memory: int) -> None:
    model = build(memory=memory, filter_taps=3)
    for layer in model.memories:
        torch.nn.init.normal_(layer.spread.weight)
    hop = model.hop_length
    beginning, x = torch.randn(2, 1, 40 * hop), torch.randn(2, 1, 40 * hop) * 0.1
    beginning[..., -hop:] = 0  # no frame holds samples of both
    state = model.start(memory=model.warm_up(beginning))
    warmed_up, _ = model.step(x, state, final=True)
    in_one = model.process(torch.cat((beginning, x), dim=-1))[..., beginning.shape[-1] :]
    cold = model.process(x)
    settled = slice(3 * hop, x.shape[-1])  # a deep filter looks back two frames
    torch.testing.assert_close(warmed_up[..., settled], in_one[..., settled], atol=1e-5, rtol=0)
    assert (cold - in_one)[..., settled].abs().max() > 1e-3


@torch.no_grad()
def test_nothing_of_a_warm_up_sounds() -> None:
    model = build(filter_taps=3)
    state = model.start(memory=model.warm_up(torch.randn(1, 1, 8000)))
    silence, _ = model.step(torch.zeros(1, 1, 4000), state, final=True)
    assert silence.abs().max() == 0


@torch.no_grad()
@pytest.mark.parametrize("memory", [0, 6])
def test_a_learnt_start_begins_where_it_was_learnt_and_only_there(memory: int) -> None:
    plain, learnt = build(memory=memory), build(memory=memory, learnt_start=True)
    learnt.load_state_dict(plain.state_dict(), strict=False)
    for layer in (*plain.memories, *learnt.memories):
        torch.manual_seed(1)
        torch.nn.init.normal_(layer.spread.weight)
    x = torch.randn(2, 1, 8000)
    torch.testing.assert_close(learnt.process(x), plain.process(x), atol=0, rtol=0)
    beginnings = [part.beginning.values for part in (*learnt.layers, *learnt.memories)]
    for values in beginnings:
        torch.nn.init.normal_(values)
    outputs, state = [], None
    for begin in range(0, 8000, 800):
        y, state = learnt.step(x[..., begin : begin + 800], state, final=begin == 7200)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, dim=-1)[..., :8000], learnt.process(x))
    assert (learnt.process(x) - plain.process(x)).abs().max() > 1e-3
    ended = learnt.warm_up(x)
    _, state = learnt.step(x)
    torch.testing.assert_close(ended["layers"], state["layers"], atol=0, rtol=0)
    outputs = [model.step(x, model.start(memory=ended), final=True)[0] for model in (learnt, plain)]
    torch.testing.assert_close(*outputs, atol=0, rtol=0)


@torch.no_grad()
def test_a_warm_up_on_noise_is_as_good_as_none() -> None:
    """Of two rows one keeps the state of its warm-up, the other begins as a live stream."""
    model = build(learnt_start=True, bands=((1, 128), (1, 128)), filter_taps=1)
    for layer in model.layers:
        torch.nn.init.normal_(layer.beginning.values)
    for masks, gain in zip(model.masks, (1.0, 0.1), strict=True):
        masks.weight.zero_()
        masks.bias.zero_().unflatten(-1, (2, 1, 1, -1))[:, :, 0] = gain - 0.5  # a mask begins at a half
    times = torch.arange(16000) / 16000
    x = torch.stack([torch.sin(2 * torch.pi * hz * times) for hz in (1000.0, 6000.0)])[:, None]
    memory = model.warm_up(x)
    _, state = model.step(x)
    for layer, current, kept in zip(model.layers, state["layers"], memory["layers"], strict=True):
        torch.testing.assert_close(kept[0], current[0])
        torch.testing.assert_close(kept[1], layer.beginning(1)[0])
    level = memory["analysis"][1]
    assert level[0].min() > 0
    assert level[1].abs().max() == 0


def test_warmed_up_examples_equal_a_warmed_up_stream() -> None:
    model = build(learnt_start=True)
    x = torch.randn(2, 1, 9 * 16000)
    warmed_up = model.warmed_up_outputs({"input": x})["estimate"]
    state = model.start(memory=model.warm_up(x[..., : 8 * 16000]))
    torch.testing.assert_close(warmed_up, model.step(x, state, final=True)[0][..., : x.shape[-1]])
    warmed_up.square().mean().backward()
    # The warm-up, which alone begins with what is learnt of beginnings, teaches nothing.
    assert all(layer.beginning.values.grad is None for layer in model.layers)
    assert model.layers[0].gru.weight_ih_l0.grad.abs().max() > 0
    model.training_outputs({"input": x})["estimate"].square().mean().backward()
    assert all(layer.beginning.values.grad.abs().max() > 0 for layer in model.layers)


@pytest.mark.parametrize("name", ["band-split-gru", "full-band-gru"])
def test_half_precision_trains_alike(name: str) -> None:
    """As `train.precision=bf16` does: what layers add to, spectra and filters stay in single precision."""
    torch.manual_seed(0)
    architecture = MODELS.get(name)
    model: Any = architecture.from_config({**architecture.small, "memory": 6, "learnt_start": True})
    x, gradients, outputs = torch.randn(2, 1, 8000), [], []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            outputs.append(model.process(x))
        gradients.append(
            torch.autograd.grad(outputs[-1].square().mean(), model.layers[0].gru.weight_ih_l0)[0]
        )
    assert outputs[1].dtype == torch.float32
    assert 0 < (outputs[1] - outputs[0]).norm() < 0.01 * outputs[0].norm()
    whole, half_precise = (g.flatten() for g in gradients)
    assert torch.cosine_similarity(whole, half_precise, dim=0) > 0.95
