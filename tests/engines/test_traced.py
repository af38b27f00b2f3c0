"""Replayed steps are the plain steps, for every causal model; models whose state grows do without."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from kit.models import CAUSAL, build, make_input
from kit.streams import TensorStream, causal_stream
from torch import Tensor

from audiotool.engines.pytorch import FEW_CHUNKS
from audiotool.engines.traced import traced_step
from audiotool.models.base import Model
from audiotool.streaming.streamer import LONGEST_SECONDS

STEADY = {
    "afilm",
    "band-split-gru",
    "deepfilternet3",
    "dtln",
    "fastenhancer",
    "gtcrn",
    "harmonic-vocoder",
    "personalised-transformer",
    "spectral-convnext",
    "tfilm",
    "vocos",
}
"""Models whose state neither counts nor grows for long: their live steps are fast because they are traced."""


def traced(model: Model, batch: int = 1) -> object:
    return traced_step(model, (batch, model.input_channels, model.hop_length))


def outputs(streamer: TensorStream, x: Tensor) -> Tensor:
    hops = x.split(streamer.streamer.engine.hop_length, dim=-1)
    return torch.cat([*(streamer.feed(hop) for hop in hops), streamer.flush()], dim=-1)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_prepared_stream_equals_a_plain_one(name: str) -> None:
    model = build(name)
    assert traced(model) is not None or name not in STEADY
    x = make_input(model, 40 * model.hop_length + 3)
    # Silence after sound: a trace must not have kept what it happened to hear.
    x[..., 25 * model.hop_length : 32 * model.hop_length] = 0
    streamer = causal_stream(model)
    plain = outputs(streamer, x)
    streamer.reset()
    streamer.prepare(1, model.input_channels)
    for _ in range(2):
        torch.testing.assert_close(outputs(streamer, x), plain, rtol=0, atol=1e-6)
        streamer.reset()


def test_streams_of_another_batch_than_prepared_for_are_plain() -> None:
    model = build("band-split-gru")
    x = make_input(model, 10 * model.hop_length, batch=2)
    streamer = causal_stream(model)
    plain = outputs(streamer, x)
    streamer.reset()
    streamer.prepare(1, 1)
    assert torch.equal(outputs(streamer, x), plain)


def test_a_trace_is_made_once_and_follows_the_weights() -> None:
    model = build("band-split-gru")
    first = traced(model)
    assert traced(model) is first
    assert traced(model, batch=2) is not first
    with torch.no_grad():
        model.head.weight.mul_(2.0)  # type: ignore[operator, union-attr]
    assert traced(model) is first
    x = make_input(model, 10 * model.hop_length)
    prepared = causal_stream(model)
    prepared.prepare(1, 1)
    torch.testing.assert_close(outputs(prepared, x), outputs(causal_stream(model), x), rtol=0, atol=1e-6)
    model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
    assert traced(model) is not first


def test_tracing_leaves_training_and_random_numbers_alone() -> None:
    model = build("band-split-gru")
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    assert traced(model) is not None
    assert torch.equal(torch.rand(1), expected)
    model.process(make_input(model, 2000)).square().mean().backward()
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())
    assert traced(model.train()) is None


def test_a_trace_does_not_keep_its_model() -> None:
    model = build("band-split-gru")
    assert traced(model) is not None
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


class Counted:
    """A streamer whose plain steps of the model are counted, with the items of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model: Model, chunk: int | None = None) -> None:
        self.streamer = causal_stream(model, chunk)
        if chunk is None:
            self.streamer.prepare(1, model.input_channels)
        self.steps: list[int] = []
        step = type(model).step

        def counting(self_: Model, x: Tensor, *rest: object, **named: object) -> object:
            self.steps.append(x.shape[-1])
            return step(self_, x, *rest, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(type(model), "step", counting)

    def feed(self, x: Tensor) -> tuple[Tensor, list[int]]:
        """What comes out, and the sizes of the plain steps it took."""
        before = len(self.steps)
        return self.streamer.feed(x), self.steps[before:]


@pytest.mark.parametrize("name", CAUSAL)
def test_hops_that_come_together_are_one_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output is that of hops one by one; many are one plain step, few of a traced stream none at all."""
    model = build(name)
    hop = model.hop_length
    counts = [*[1] * 30, 25, FEW_CHUNKS, 1, FEW_CHUNKS + 1, 0, 2, 40, 1]
    x = make_input(model, sum(counts) * hop + 3)
    plain = outputs(causal_stream(model), x)
    stream = Counted(monkeypatch, model)
    got = []
    for n, part in zip(counts, x.split([n * hop for n in counts] + [3], dim=-1), strict=False):
        output, steps = stream.feed(part)
        got.append(output)
        if n > FEW_CHUNKS:
            assert steps == [n * hop]
        elif name in STEADY and len(got) > 30:
            assert steps == []
    got.append(stream.streamer.feed(x[..., sum(counts) * hop :]))
    got.append(stream.streamer.flush())
    torch.testing.assert_close(torch.cat(got, dim=-1), plain, rtol=0, atol=1e-5 * float(plain.abs().max()))


def test_a_step_is_of_bounded_length(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("band-split-gru")
    longest = round(LONGEST_SECONDS * model.sample_rate)
    x = make_input(model, 2 * longest + 5 * model.hop_length)
    _, steps = Counted(monkeypatch, model).feed(x)
    assert sum(steps) == x.shape[-1]
    assert max(steps) <= longest
    assert len(steps) == 3


def test_a_chunk_that_was_asked_for_is_what_a_step_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("band-split-gru")
    chunk = 5 * model.hop_length
    _, steps = Counted(monkeypatch, model, chunk).feed(make_input(model, 7 * chunk + 3))
    assert steps == [chunk] * 7
