"""Streams in one batch: the output of each equals that of a single stream, whatever other streams do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from kit.audio import speech_like
from kit.models import CAUSAL, build
from numpy.typing import NDArray
from torch import Tensor

import audiotool
from audiotool import named_checkpoints
from audiotool.engines.base import Batch
from audiotool.engines.copy_synthesis import takes_mel
from audiotool.engines.pytorch import TorchEngine
from audiotool.errors import StreamError
from audiotool.models.registry import MODELS
from audiotool.pipeline import Pipeline
from audiotool.streaming.session import Settings
from audiotool.streaming.streams import SharedStream, Streams

ROUNDING = {"full-band-gru": 3e-5, "harmonic-vocoder": 5e-3}
"""Where another order of the same sums makes a greater difference than 1e-5: see `Model.rounding`."""

Waveform = NDArray[np.float32]


@dataclasses.dataclass
class Call:
    """A stream of a test: its input, where it is, what came."""

    stream: SharedStream
    x: Waveform
    settings: Settings
    rate: int
    at: int = 0
    parts: list[Any] = dataclasses.field(default_factory=list)


def alone(pipeline: Pipeline, call: Call) -> Waveform:
    chosen = pipeline.at(call.rate)
    pipeline = Pipeline(chosen.engine, chosen.task, chosen.metadata, call.settings)
    live, size = pipeline.live(call.rate, call.x.shape[0]), call.rate // 100
    parts = [live.feed(call.x[:, n : n + size]) for n in range(0, call.x.shape[1], size)]
    return np.concatenate([*parts, live.flush()], axis=-1)


def begin(
    streams: Streams, rng: np.random.Generator, rate: int, channels: int, seconds: float, **options: Any
) -> Call:
    settings = dataclasses.replace(streams.settings, **options)
    x = speech_like(seconds, rate, channels, seed=int(rng.integers(1000)))
    x[:, : int(rng.integers(1, x.shape[1] // 2))] *= 0.002
    return Call(streams.join(rate, channels, settings), x, settings, rate)


def run(pipeline: Pipeline, kinds: list[tuple[int, int, dict[str, Any]]], seconds: float, most: int) -> None:
    """Calls that begin at random, come in ragged blocks and end, each compared with itself alone."""
    rng = np.random.default_rng(7)
    streams = pipeline.streams(capacity=most)
    waiting, active, ended = list(kinds), list[Call](), list[Call]()
    while waiting or active:
        if waiting and (not active or rng.random() < 0.3):
            rate, channels, options = waiting[0]
            try:
                active.append(begin(streams, rng, rate, channels, seconds, **options))
                waiting.pop(0)
            except StreamError:
                assert streams.free < 2
        for call in list(active):
            if rng.random() < 0.2:
                continue
            size = int(rng.integers(0, call.rate // 10))
            call.stream.push(call.x[:, call.at : call.at + size])
            call.at += size
            if call.at >= call.x.shape[1]:
                call.parts += [call.stream.pull(), call.stream.flush()]
                active.remove(call)
                ended.append(call)
        while streams.step():
            pass
        for call in active:
            if call.at:
                call.parts.append(call.stream.pull())
    assert len(streams) == 0
    assert streams.free == most
    for call in ended:
        found, expected = np.concatenate(call.parts, axis=-1), alone(pipeline, call)
        assert found.shape == expected.shape
        tolerance = ROUNDING.get(pipeline.metadata.model["name"] if pipeline.metadata else "", 1e-5)
        np.testing.assert_allclose(found, expected, atol=tolerance * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize("name", named_checkpoints.bundled())
def test_every_bundled_checkpoint(name: str) -> None:
    pipeline = audiotool.load(name)
    own = pipeline.sample_rate
    mixing = {} if pipeline.settings.widens else {"mix": 0.5, "max_attenuation_db": 20.0}
    kinds: list[tuple[int, int, dict[str, Any]]] = [
        (own, 1, {}),
        (own, 1, mixing),
        (own, 2, {}),
        (8000, 1, {}),
    ]
    run(pipeline, [*kinds, (own, 1, {}), (44100, 2, mixing), (own, 1, {})], 0.7, 5)


@pytest.mark.parametrize("rate", [8000, 44100])
def test_resampled_streams_equal_one_that_is_fed_at_once(rate: int) -> None:
    """Rounding must not depend on block sizes, because the model amplifies it at quiet frequencies."""
    pipeline = audiotool.load("denoise-tiny-16k", engine="onnx", threads=1)
    x = speech_like(3.0, rate)[0]
    live, shared = pipeline.live(rate), pipeline.streams(2)
    expected = np.concatenate([live.feed(x), live.flush()])
    stream, found = shared.join(rate), list[np.ndarray]()
    for n in range(0, len(x), 77):
        stream.push(x[n : n + 77])
        while shared.step():
            pass
        found.append(np.asarray(stream.pull()))
    found.append(np.asarray(stream.flush()))
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)


SERVED = [name for name in CAUSAL if "enrolment" not in MODELS.get(name).takes]


@pytest.mark.parametrize("name", SERVED)
def test_every_causal_model(name: str) -> None:
    engine = TorchEngine(build(name))
    if engine.upsampling != 1 and not takes_mel(engine):
        pytest.skip("takes a codec's features")
    pipeline = Pipeline(engine, "denoise", settings=Settings(upper_band=False))
    rate, channels = engine.sample_rate, 2 if engine.channels is None else 1
    run(pipeline, [(rate, channels, {})] * 3, 0.3, 3 * max(1, channels))


TOGETHER = ("band-split-gru", "deepfilternet3", "dtln", "fastenhancer", "gtcrn")


@pytest.mark.parametrize("name", TOGETHER)
def test_plain_functions_of_their_state_are_stepped_together(name: str) -> None:
    engine = TorchEngine(build(name))
    batch = engine.batch(4)
    rng = np.random.default_rng(0)
    rows = [(n,) for n in range(3)]
    for row in rows:
        batch.insert(row, engine.start())
    calls: list[int] = []
    step = engine.model.step

    def counted(x: Tensor, *rest: Any) -> Any:
        calls.append(len(x))
        return step(x, *rest)

    for _ in range(40):
        hops = [(row, rng.standard_normal((1, 1, engine.hop_length), np.float32)) for row in rows]
        with pytest.MonkeyPatch.context() as patch:
            calls.clear()
            patch.setattr(engine.model, "step", counted)
            batch.step(hops)
    assert calls == [3]


def test_a_stream_waits_without_holding_others_up() -> None:
    pipeline = audiotool.load("denoise-tiny-16k")
    streams = pipeline.streams(2)
    quick, slow = streams.join(16000), streams.join(16000)
    slow.push(np.zeros(100))
    quick.push(np.zeros(1000))
    assert [streams.step() for _ in range(4)] == [1, 1, 1, 0]
    assert len(quick.pull()) == 768 - 256
    slow.push(np.zeros(200, np.int16))
    assert streams.step() == 1
    assert slow.pull().dtype == np.int16


def test_settings_of_each_stream_may_change() -> None:
    pipeline = audiotool.load("denoise-tiny-16k")
    streams = pipeline.streams(2)
    one, two = streams.join(16000), streams.join(16000)
    x = speech_like(0.5, 16000)[0]
    two.settings = dataclasses.replace(two.settings, mix=0.0)
    for stream in (one, two):
        stream.push(x)
    while streams.step():
        pass
    got = [stream.pull() for stream in (one, two)]
    np.testing.assert_array_equal(got[1], x[: len(got[1])])
    assert np.abs(got[0] - got[1]).max() > 0.01
    with pytest.raises(StreamError, match="settled when a stream begins"):
        one.settings = dataclasses.replace(one.settings, upper_band=False)


def test_each_rate_has_the_model_that_a_live_stream_has() -> None:
    pipeline = audiotool.load("denoise")
    kinds: list[tuple[int, int, dict[str, Any]]] = [(48000, 1, {}), (16000, 1, {}), (48000, 2, {})]
    run(pipeline, kinds, 0.5, 3)


def test_a_stream_goes_on_from_its_state() -> None:
    """From a shared stream into a shared and a live one, and from a live one into a shared one."""
    pipeline = audiotool.load("denoise-tiny-16k")
    x = (speech_like(1.0, 22050, 2) * 32767).astype(np.int16)
    first, cut = pipeline.streams(4), 9000
    beside, stream = first.join(16000), first.join(22050, 2, Settings(mix=0.9))
    beside.push(x[0])
    stream.push(x[:, :cut])
    while first.step():
        pass
    first_output = stream.pull()
    state = stream.state()
    ways = {}
    for name, streams in (("same", first), ("other", pipeline.streams(2))):
        if name == "same":
            stream.leave()
        ways[name] = streams.join(22050, state=state)
    live = pipeline.live(22050, state=state)
    restored = pipeline.streams(2).join(22050, state=live.state())
    expected = np.concatenate([live.feed(x[:, cut:]), live.flush()], axis=1)
    for shared in (*ways.values(), restored):
        assert shared.settings.mix == 0.9
        shared.push(x[:, cut:])
        found = np.concatenate([shared.pull(), shared.flush()], axis=1)
        assert found.dtype == np.int16
        assert np.abs(found.astype(int) - expected).max() <= 1
    assert first_output.shape[1] + expected.shape[1] == x.shape[1]


def test_states_that_do_not_belong_here() -> None:
    pipeline = audiotool.load("denoise-tiny-16k")
    stream = pipeline.streams(2).join(16000)
    state = stream.state()
    streams = pipeline.streams(2)
    with pytest.raises(StreamError, match="of 16000 Hz, not of 8000 Hz"):
        streams.join(8000, state=state)
    with pytest.raises(StreamError, match="give one of the two"):
        streams.join(16000, settings=Settings(), state=state)
    with pytest.raises(StreamError, match=r"another checkpoint|of the model"):
        audiotool.load("denoise-16k").streams(2).join(16000, state=state)
    for wrong in ("call.safetensors", 3, np.zeros((2, 1)), [0] * 1000):
        with pytest.raises(StreamError, match=r"^state is a StreamState, got.{,100}$"):
            streams.join(16000, state=wrong)  # type: ignore[arg-type]
        with pytest.raises(StreamError, match="state is a StreamState, got"):
            pipeline.live(16000, state=wrong)  # type: ignore[arg-type]
    with pytest.raises(StreamError, match="settings are a Settings"):
        streams.join(16000, settings={"mix": 0.5})  # type: ignore[arg-type]
    assert streams.free == 2
    stream.leave()
    with pytest.raises(StreamError, match="has left"):
        stream.state()


def test_a_full_house_refuses() -> None:
    streams = audiotool.load("denoise-tiny-16k").streams(2)
    first = streams.join(16000)
    with pytest.raises(StreamError, match=r"\(1 of 2, and this stream needs 2\)"):
        streams.join(16000, channels=2)
    streams.join(16000)
    with pytest.raises(StreamError, match=r"\(0 of 2, and this stream needs 1\)"):
        streams.join(16000)
    first.push(np.zeros(300))
    first.leave()
    first.leave()
    with pytest.raises(StreamError, match="has left"):
        first.push(np.zeros(10))
    with pytest.raises(StreamError, match="has left"):
        first.flush()
    restored = streams.join(16000)
    with pytest.raises(StreamError, match="nothing was pushed"):
        restored.pull()
    assert len(streams) == 2


def test_leaving_twice_frees_one_place() -> None:
    streams = audiotool.load("denoise-tiny-16k").streams(capacity=1)
    one = streams.join(16000)
    one.leave()
    two = streams.join(16000)
    one.leave()
    assert streams.free == 0
    two.push(np.zeros(512, np.float32))
    with pytest.raises(StreamError):
        one.push(np.zeros(512, np.float32))


def kept_by_rows(batch: Batch) -> list[dict[Any, Any]]:
    """Return what a batch keeps by rows, and what the batches inside it keep."""
    values = list(vars(batch).values())
    inside = [kept for value in values if isinstance(value, Batch) for kept in kept_by_rows(value)]
    return [value for value in values if isinstance(value, dict)] + inside


@pytest.mark.parametrize(
    ("name", "kind"),
    [("denoise-tiny-16k", "onnx"), ("denoise-tiny-16k", "torch"), ("harmonic-vocoder-22k", "onnx")],
)
def test_a_batch_forgets_streams_that_left(name: str, kind: Literal["onnx", "torch"]) -> None:
    """Of one or two rows, at their beginning or in the steady state."""
    streams = audiotool.load(name, engine=kind).streams(4)
    (shared,) = streams._batches.values()
    one_row = [streams.join(16000) for _ in range(2)]
    one_row[0].leave()
    two_rows = streams.join(16000, channels=2)
    two_rows.push(np.zeros((2, 512), np.float32))
    while streams.step():
        pass
    two_rows.flush()
    one_row[1].leave()
    kept = kept_by_rows(shared._batch)
    assert len(kept) > 0
    assert not any(kept)


def test_models_without_steps_are_refused() -> None:
    streams = audiotool.load("denoise-tiny-16k").streams(2)
    with pytest.raises(StreamError, match="chunk_seconds is None"):
        streams.join(16000, settings=Settings(chunk_seconds=1.0))
    with pytest.raises(audiotool.InputError, match="capacity"):
        audiotool.load("denoise-tiny-16k").streams(0)
    with pytest.raises(StreamError, match="from 1 to 100,000 rows"):
        audiotool.load("denoise-tiny-16k").streams(10**9)
    with pytest.raises(StreamError, match="looks ahead: only causal models"):
        Batch(TorchEngine(build("mp-senet")), 2)


def test_an_interrupted_step_breaks_the_streams_in_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = audiotool.load("denoise")
    x = speech_like(1.0, 16000)[0]
    streams = pipeline.streams(capacity=2)
    stepped, other = streams.join(16000), streams.join(16000)
    other.push(x[:8000])
    while streams.step():
        pass
    stepped.push(x)

    def step(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("audiotool.streaming.streams._SharedBatch._forget_quiet", step)
        with pytest.raises(KeyboardInterrupt):
            streams.step()
    assert streams.step() == 0
    calls: list[Callable[[], object]] = [lambda: stepped.push(x), stepped.pull, stepped.state, stepped.flush]
    for call in calls:
        with pytest.raises(StreamError, match="interrupted within a block"):
            call()

    other.push(x[8000:])
    while streams.step():
        pass
    live = pipeline.live(16000)
    expected = np.concatenate((live.feed(x), live.flush()))
    np.testing.assert_allclose(np.concatenate((other.pull(), other.flush())), expected, atol=1e-5)
