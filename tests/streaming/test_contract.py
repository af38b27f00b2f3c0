"""The contract of causal models: the same output in any chunks, true latency, explicit bounded state."""

from __future__ import annotations

import io
import random

import pytest
import torch
from kit.models import CAUSAL, build, make_input
from kit.streams import TensorStream, causal_stream, stream
from torch import Tensor

from audiotool.compat import tree_leaves
from audiotool.errors import StreamError
from audiotool.models.base import Model, State

pytestmark = [pytest.mark.parametrize("name", CAUSAL)]
TOLERANCE = 1e-5


def splits(model: Model, length: int, how: str) -> list[int]:
    """Chunk lengths that sum to `length`."""
    if how == "random":
        generator = random.Random(1)
        sizes: list[int] = []
        while sum(sizes) < length:
            sizes.append(generator.choice([0, 1, 2, 3, 17, 101, 257, 1000, 5 * model.hop_length + 1]))
    else:
        second = round(model.sample_rate / model.upsampling)
        size = {"one hop": model.hop_length, "seven hops": 7 * model.hop_length, "one second": second}[how]
        # Enough of the small chunks to be past every beginning; a model of 1 ms hops would take forever.
        sizes = [size] * min(-(-length // size), 60)
        sizes.append(max(length - sum(sizes), 0))
    sizes[-1] -= sum(sizes) - length
    return sizes if sizes[-1] >= 0 else [*sizes[:-2], sizes[-2] + sizes[-1]]


@torch.inference_mode()
def steps(model: Model, x: Tensor, sizes: list[int], state: State = None) -> Tensor:
    """Run a stream by hand, without a streamer; the last chunk is final."""
    outputs = []
    for n, chunk in enumerate(x.split(sizes, dim=-1)):
        y, state = model.step(chunk, state, final=n == len(sizes) - 1)
        outputs.append(y)
    return torch.cat(outputs, dim=-1)[..., : model.output_length(x.shape[-1])]


@torch.inference_mode()
def whole(model: Model, x: Tensor) -> Tensor:
    return model.process(x)


def assert_same(actual: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    """Equal length, and equal within a part of the peak."""
    assert actual.shape == expected.shape
    peak = expected.abs().max()
    assert peak > 0, "a silent output would prove nothing"
    assert (actual - expected).abs().max() <= tolerance * peak


@pytest.mark.parametrize("how", ["one hop", "seven hops", "one second", "random"])
def test_chunks_do_not_matter(name: str, how: str) -> None:
    model = build(name)
    x = make_input(model)
    assert_same(steps(model, x, splits(model, x.shape[-1], how)), whole(model, x))


def test_streamer_takes_blocks_of_any_size(name: str) -> None:
    model = build(name)
    x = make_input(model)
    streamer = stream(model)
    outputs, fed, got = [], 0, 0
    for block in x.split(splits(model, x.shape[-1], "random"), dim=-1):
        outputs.append(streamer.feed(block))
        fed, got = fed + block.shape[-1], got + outputs[-1].shape[-1]
        assert got >= model.output_length(fed) - streamer.latency, "the declared latency is exceeded"
    outputs.append(streamer.flush())
    assert_same(torch.cat(outputs, dim=-1), whole(model, x))


def test_a_live_stream_lags_as_much_as_it_says(name: str) -> None:
    """Fed item by item: what is declared is the most by which output falls behind, not a bound above it."""
    model = build(name)
    streamer = stream(model)
    got, lags = 0, []
    for fed, item in enumerate(make_input(model, 12 * model.hop_length + 5).split(1, dim=-1), start=1):
        got += streamer.feed(item).shape[-1]
        lags.append(model.output_length(fed) - got)
    assert max(lags) == streamer.latency == model.delay + (model.hop_length - 1) * model.upsampling


def test_output_never_depends_on_input_after_its_latency(name: str) -> None:
    model = build(name)
    x = make_input(model)
    for share in (0.3, 0.52, 0.77):
        at = int(share * x.shape[-1])
        changed = x.clone()
        changed[..., at:] = make_input(model, x.shape[-1], seed=9)[..., at:]
        before, after = whole(model, x), whole(model, changed)
        untouched = max(0, model.output_length(at) - model.latency)
        assert untouched > 0
        assert torch.equal(before[..., :untouched], after[..., :untouched])
        assert not torch.equal(before, after)


def test_an_impulse_arrives_within_its_latency(name: str) -> None:
    """Feed one hop at a time: what an input sample changes comes out while latency allows, not later."""
    model = build(name)
    x = make_input(model)
    at = x.shape[-1] // 2
    changed = x.clone()
    changed[..., at] += x.abs().max()
    difference = (whole(model, x) - whole(model, changed)).abs().amax(dim=(0, 1))
    first = int(difference.nonzero()[0])
    assert first >= model.output_length(at) - model.latency
    peak = int(difference.argmax())
    reach = model.latency + max(model.sample_rate // 4, 40 * model.upsampling)
    assert abs(peak - model.output_length(at)) <= reach, "the output is not aligned with the input"


def test_state_is_a_value_that_can_be_saved(name: str) -> None:
    model = build(name)
    x = make_input(model)
    half = x.shape[-1] // 2 + 5
    with torch.inference_mode():
        first, state = model.step(x[..., :half])
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    restored = torch.load(file, weights_only=True)
    with torch.inference_mode():
        # The live state goes on elsewhere first: a restored one must not notice.
        model.step(make_input(model, half, seed=3), state)
        second, _ = model.step(x[..., half:], restored, final=True)
    joined = torch.cat((first, second), dim=-1)[..., : model.output_length(x.shape[-1])]
    assert_same(joined, whole(model, x))


def test_streams_do_not_disturb_each_other(name: str) -> None:
    model = build(name)
    x = [make_input(model, seed=seed) for seed in (0, 5)]
    sizes = splits(model, x[0].shape[-1], "seven hops")
    streamers: list[TensorStream] = [stream(model) for _ in x]
    outputs: list[list[Tensor]] = [[], []]
    for pair in zip(*(w.split(sizes, dim=-1) for w in x), strict=True):
        for n, block in enumerate(pair):
            outputs[n].append(streamers[n].feed(block))
    for n, streamer in enumerate(streamers):
        assert_same(torch.cat([*outputs[n], streamer.flush()], dim=-1), whole(model, x[n]))


def test_second_stream_equals_the_first(name: str) -> None:
    model = build(name)
    x = make_input(model)
    streamer = causal_stream(model, chunk=model.hop_length * 3)
    runs = []
    for _ in range(2):
        runs.append(streamer.process(x, x.shape[-1]))
        with pytest.raises(StreamError, match="ended"):
            streamer.feed(x)
        streamer.reset()
    assert torch.equal(*runs)


def test_rows_of_a_batch_are_streams_of_their_own(name: str) -> None:
    model = build(name)
    rows = [make_input(model, seed=seed) for seed in (0, 5)]
    sizes = splits(model, rows[0].shape[-1], "one second")
    together = steps(model, torch.cat(rows), sizes)
    alone = torch.cat([steps(model, row, sizes) for row in rows])
    assert_same(together, alone)


def test_the_end_of_a_stream_gives_the_delayed_output(name: str) -> None:
    model = build(name)
    x = make_input(model)
    with torch.inference_mode():
        y, state = model.step(x)
        tail, _ = model.step(x[..., :0], state, final=True)
    joined = torch.cat((y, tail), dim=-1)[..., : model.output_length(x.shape[-1])]
    assert_same(joined, whole(model, x))


@pytest.mark.parametrize("length", [0, 1, 2, 63])
def test_short_streams_keep_their_length(name: str, length: int) -> None:
    model = build(name)
    output = stream(model).process(make_input(model, length), max(1, length))
    assert output.shape[-1] == model.output_length(length)
    assert torch.isfinite(output).all()


def test_silence_gives_finite_output(name: str) -> None:
    model = build(name)
    x = torch.zeros_like(make_input(model))
    assert torch.isfinite(whole(model, x)).all()


def test_state_does_not_grow_with_time(name: str) -> None:
    model = build(name)
    x = make_input(model)
    state, sizes = None, []
    with torch.inference_mode():
        for n in range(6):
            _, state = model.step(
                make_input(model, x.shape[-1] // model.hop_length * model.hop_length, n), state
            )
            sizes.append(sum(leaf.untyped_storage().nbytes() for leaf in tensors(state)))
    assert sizes[2] == sizes[3] == sizes[4] == sizes[5]


def tensors(state: State) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(state) if isinstance(leaf, Tensor)]
