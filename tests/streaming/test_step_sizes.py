"""Number of hops that a streamer feeds a model in one step."""

from __future__ import annotations

import pytest
import torch
from kit.models import CAUSAL, build, make_input
from kit.streams import TensorStream, causal_stream
from torch import Tensor

from audiotool.models.base import Model
from audiotool.streaming.streamer import LONGEST_SECONDS


def outputs(streamer: TensorStream, x: Tensor) -> Tensor:
    return streamer.process(x, streamer.streamer.engine.hop_length)


class Counted:
    """A streamer whose steps of the model are counted, with the items of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model: Model, chunk: int | None = None) -> None:
        self.streamer = causal_stream(model, chunk)
        self.steps: list[int] = []
        step = type(model).step

        def counting(self_: Model, x: Tensor, *rest: object, **named: object) -> object:
            self.steps.append(x.shape[-1])
            return step(self_, x, *rest, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(type(model), "step", counting)

    def feed(self, x: Tensor) -> tuple[Tensor, list[int]]:
        """Return the output and the sizes of its steps."""
        before = len(self.steps)
        return self.streamer.feed(x), self.steps[before:]


@pytest.mark.parametrize("name", CAUSAL)
def test_hops_that_come_together_are_one_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output is that of hops one by one."""
    model = build(name)
    hop = model.hop_length
    counts = [1, 1, 25, 3, 0, 2, 20, 1]  # less than a second, at whose end denoisers look back
    x = make_input(model, sum(counts) * hop + 3)
    plain = outputs(causal_stream(model), x)
    stream = Counted(monkeypatch, model)
    got = []
    for n, part in zip(counts, x.split([n * hop for n in counts] + [3], dim=-1), strict=False):
        output, steps = stream.feed(part)
        got.append(output)
        assert steps == ([n * hop] if n else [])
    got.append(stream.streamer.feed(x[..., sum(counts) * hop :]))
    got.append(stream.streamer.flush())
    torch.testing.assert_close(torch.cat(got, dim=-1), plain, rtol=0, atol=1e-5 * float(plain.abs().max()))


def test_a_step_is_of_bounded_length(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("band-split-gru", stems=("speaker1", "speaker2"))
    longest = round(LONGEST_SECONDS * model.sample_rate)
    x = make_input(model, 2 * longest + 5 * model.hop_length)
    _, steps = Counted(monkeypatch, model).feed(x)
    assert sum(steps) == x.shape[-1]
    assert max(steps) <= longest
    assert len(steps) == 3


def test_steps_of_a_denoiser_end_at_whole_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("band-split-gru")
    second = round(model.sample_rate / model.hop_length) * model.hop_length
    stream = Counted(monkeypatch, model)
    _, steps = stream.feed(make_input(model, 2 * second + 5 * model.hop_length))
    assert steps == [second, second, 5 * model.hop_length]
    _, steps = stream.feed(make_input(model, second))
    assert steps == [second - 5 * model.hop_length, 5 * model.hop_length]


def test_a_step_has_the_requested_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("band-split-gru")
    chunk = 5 * model.hop_length
    _, steps = Counted(monkeypatch, model, chunk).feed(make_input(model, 7 * chunk + 3))
    assert steps == [chunk] * 7
