"""A pipeline: arrays, blocks, files and live streams give one answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kit.audio import speech_like, write_speech

import audiotool
from audiotool.errors import InputError, StreamError
from audiotool.models.cleanunet import CleanUNet


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("kind", ["numpy", "float64", "torch", "torch float64"])
@pytest.mark.parametrize("channels", [0, 1, 3])
def test_same_kind_and_shape_come_back(
    pipeline: audiotool.Pipeline, rate: int, kind: str, channels: int
) -> None:
    x = speech_like(0.3, rate, max(channels, 1))
    expected = pipeline(x, rate)
    x = x if channels else x[0]
    tensor = torch.from_numpy(x)
    kinds: dict[str, Any] = {"numpy": x, "float64": x.astype(np.float64), "torch": tensor}
    given = (kinds | {"torch float64": tensor.double()})[kind]
    y = pipeline(given, rate)
    assert type(y) is type(given)
    assert y.shape == given.shape
    assert y.dtype == given.dtype
    np.testing.assert_allclose(np.asarray(y).reshape(expected.shape), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_back(pipeline: audiotool.Pipeline, dtype: torch.dtype) -> None:
    x = torch.from_numpy(speech_like(0.2, 16000)).to(dtype).requires_grad_()
    live = pipeline.live(16000)
    for y in (pipeline(x, 16000), torch.cat([*pipeline.stream([x], 16000)], dim=-1), live.feed(x)):
        assert y.dtype == dtype
    torch.testing.assert_close(pipeline(x, 16000), pipeline(x.float(), 16000).to(dtype))


@pytest.mark.parametrize("dtype", [">i2", ">f4"])
def test_samples_of_either_byte_order_come_back(pipeline: audiotool.Pipeline, dtype: str) -> None:
    scale = 2**15 if dtype == ">i2" else 1.0
    x = speech_like(0.2, 16000)[0] * scale
    swapped, own = x.astype(dtype), x.astype(np.dtype(dtype).newbyteorder("="))
    live, other = pipeline.live(16000), pipeline.live(16000)
    found = (pipeline(swapped, 16000), live.feed(swapped), live.flush())
    expected = (pipeline(own, 16000), other.feed(own), other.flush())
    for y, same in zip(found, expected, strict=True):
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, same)


@pytest.mark.parametrize("rate", [np.int64(16000), np.float32(16000), 16000.0])
def test_rates_of_any_numeric_type(pipeline: audiotool.Pipeline, rate: Any) -> None:
    x = speech_like(0.1, 16000)
    np.testing.assert_array_equal(pipeline(x, rate), pipeline(x, 16000))


def test_a_notebook_shows_what_a_pipeline_is(pipeline: audiotool.Pipeline) -> None:
    assert pipeline.metadata is not None
    made = f"denoise by {pipeline.metadata.model['name']} at {pipeline.sample_rate} Hz"
    assert repr(pipeline) == f"<Pipeline: {made}, {pipeline.engine.kind} on cpu>"


def test_input_is_not_modified(pipeline: audiotool.Pipeline) -> None:
    x = speech_like(0.2, 16000)
    before = x.copy()
    pipeline(x, 16000)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("rate", [16000, 48000])
def test_array_blocks_live_and_file_agree(pipeline: audiotool.Pipeline, tmp_path: Path, rate: int) -> None:
    path = write_speech(tmp_path / "in.wav", 1.0, rate, 2, subtype="FLOAT")
    x, _ = audiotool.read(path)
    whole = pipeline(x, rate)
    tolerance = 1e-5 * np.abs(whole).max()
    blocks = np.concatenate(list(pipeline.stream(np.array_split(x, 37, axis=1), rate)), axis=1)
    np.testing.assert_allclose(blocks, whole, atol=tolerance)
    result = pipeline.process_file(path, tmp_path / "out.wav")
    written, written_rate = audiotool.read(tmp_path / "out.wav")
    np.testing.assert_allclose(written, whole, atol=tolerance)
    assert (written_rate, result.sample_rate, result.channels, result.limited) == (rate, rate, 2, 0)
    assert result.seconds == pytest.approx(1.0)


def test_live_stream(pipeline: audiotool.Pipeline) -> None:
    x = torch.from_numpy(speech_like(1.0, 16000))[0]
    live = pipeline.live(16000)
    assert live.latency == pipeline.engine.delay + pipeline.engine.hop_length - 1
    assert live.latency_seconds == live.latency / 16000
    for _ in range(2):
        outputs, got = [], 0
        for n, block in enumerate(x.split(160)):
            outputs.append(live.feed(block))
            got += len(outputs[-1])
            assert got >= 160 * (n + 1) - live.latency
        outputs.append(live.flush())
        np.testing.assert_allclose(torch.cat(outputs), pipeline(x, 16000), atol=1e-5)
        with pytest.raises(StreamError, match="ended"):
            live.feed(x)
        live.reset()
    with pytest.raises(StreamError, match="nothing was fed"):
        live.flush()


def test_a_block_that_is_refused_leaves_the_tail_as_it_was(pipeline: audiotool.Pipeline) -> None:
    x = speech_like(0.2, 16000, 2)
    live, alone = pipeline.live(16000, 2), pipeline.live(16000, 2)
    expected = [alone.feed(x), alone.flush()]
    found: list[Any] = [live.feed(x)]
    with pytest.raises(StreamError):
        live.feed(np.zeros(160, np.int16))
    found.append(live.flush())
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_files_and_arrays_get_the_exact_level(tiny_utterance_checkpoint: Path, tmp_path: Path) -> None:
    """A model of whole-utterance level gives what its own forward gives, in chunks too."""
    x = speech_like(1.0, 16000) * np.linspace(0.05, 1, 16000, dtype=np.float32)
    model = audiotool.load_model(tiny_utterance_checkpoint)
    assert isinstance(model, CleanUNet)
    assert not model.training
    with torch.inference_mode():
        expected = model(torch.from_numpy(x)[None])[0].numpy()
    pipeline = audiotool.load(tiny_utterance_checkpoint, device="cpu", chunk_seconds=0.25)
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(pipeline(x, 16000), expected, atol=tolerance)
    audiotool.write(tmp_path / "in.wav", x, 16000, subtype="FLOAT")
    pipeline.process_file(tmp_path / "in.wav", tmp_path / "out.wav")
    np.testing.assert_allclose(audiotool.read(tmp_path / "out.wav")[0], expected, atol=tolerance)
    live = np.concatenate(list(pipeline.stream([x], 16000)), axis=1)
    assert np.abs(live - expected).max() > 10 * tolerance, "a live stream cannot know the level beforehand"


def test_an_array_tells_its_progress_and_ends_with_an_exception_from_it(pipeline: audiotool.Pipeline) -> None:
    x = speech_like(25, 16000)
    seen: list[tuple[int, int | None]] = []
    pipeline(x, 16000, lambda *s: seen.append(s))
    assert seen == [(160000, 400000), (320000, 400000), (400000, 400000)]

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt(done)

    with pytest.raises(KeyboardInterrupt, match="160000"):
        pipeline(x, 16000, stop)


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros((1, 2, 3)), 16000, "shape"),
        (np.zeros((0, 3)), 16000, "shape"),
        (np.zeros(10, np.int32), 16000, "divide other integers"),
        (np.array([0.0, np.nan]), 16000, "nan at sample 1 of channel 1"),
        (np.zeros(10), 0, "sample rate"),
        (np.zeros(10), 44100.5, "whole number"),
        (np.zeros((300, 2)), 16000, "transpose it"),
        (np.zeros(10), "16000", "a sample rate is given in Hz, a whole number above 0, got '16000'"),
        (np.zeros(10), None, "got None"),
        (np.zeros(10), True, "got True"),
        (np.zeros(10), float("nan"), "got nan"),
        (np.zeros(10), [16000], "sample rate"),
        (np.zeros(10), np.zeros((2, 1)), r"got array\(\[\[0\.\], \[0\.\]\]\)$"),
        pytest.param(np.zeros(10), -(10**5000), "got an integer of 16610 bits", id="a huge rate"),
        (torch.zeros(10, dtype=torch.int64), 16000, "divide other integers"),
        (torch.zeros(10, dtype=torch.complex64), 16000, "floating point"),
        (torch.zeros(10, device="meta"), 16000, "without values"),
        (
            torch.zeros(10).to_sparse(),
            16000,
            r"of the layout torch.sparse_coo: give array.to_dense\(\)",
        ),
        (torch.zeros(10, dtype=torch.complex64).conj(), 16000, "floating point"),
        (np.array([0.0, -1e300]), 16000, r"the waveform holds -1e\+300, beyond float32: full scale is 1"),
        (torch.tensor([1e300], dtype=torch.float64), 16000, r"holds 1e\+300, beyond float32"),
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_bad_arrays_are_refused(
    pipeline: audiotool.Pipeline, waveform: np.ndarray, rate: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        pipeline(waveform, rate)
    with pytest.raises(InputError, match=message):
        list(pipeline.stream([waveform], rate))


@pytest.mark.parametrize(
    "blocks", [np.zeros(100), np.zeros((2, 9)), torch.zeros((2, 9)), [0.0, 0.1], "a.wav", None]
)
def test_a_waveform_is_no_iterable_of_blocks(pipeline: audiotool.Pipeline, blocks: Any) -> None:
    with pytest.raises(InputError, match=r"stream takes an iterable of blocks.*or as \[waveform\]"):
        list(pipeline.stream(blocks, 16000))


def test_a_tensor_that_is_marked_as_negated_is_as_any_other(pipeline: audiotool.Pipeline) -> None:
    x = torch.from_numpy(speech_like(0.5, 16000)[0])
    negated = torch.complex(x, x).conj().imag
    assert negated.is_neg()
    assert torch.equal(pipeline(negated, 16000), pipeline(-x, 16000))


@pytest.mark.parametrize("channels", [0, "2", 1.5])
def test_live_refuses_invalid_channels(pipeline: audiotool.Pipeline, channels: Any) -> None:
    with pytest.raises(InputError, match="a stream has channels, a whole number above 0"):
        pipeline.live(16000, channels)
    with pytest.raises(InputError, match="sample rate"):
        pipeline.live("16000")  # type: ignore[arg-type]


def test_attributes_that_do_nothing_are_refused(pipeline: audiotool.Pipeline) -> None:
    for thing in (pipeline, pipeline.live(16000)):
        for name in ("anything", "mix", "latency_ms"):
            with pytest.raises(AttributeError):
                setattr(thing, name, 1)


@pytest.mark.parametrize("settings", [{"mix": 0.5}, {}, None, "mix", [0] * 1000])
def test_settings_are_settings(pipeline: audiotool.Pipeline, settings: Any) -> None:
    before = pipeline.settings
    with pytest.raises(StreamError, match=r"^settings are a Settings, got.{,100}$"):
        pipeline.settings = settings
    assert pipeline.settings is before
    if settings is not None:
        with pytest.raises(StreamError, match="settings are a Settings, got"):
            audiotool.Pipeline(pipeline.engine, "denoise", settings=settings)


@pytest.fixture
def step_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all steps of the model, as they are made."""
    sizes, step = list[int](), CleanUNet.step

    def counting(model: CleanUNet, x: torch.Tensor, *rest: Any) -> Any:
        sizes.append(x.shape[-1])
        return step(model, x, *rest)

    monkeypatch.setattr(CleanUNet, "step", counting)
    return sizes


@pytest.mark.parametrize(("channels", "longest"), [(1, 160000), (2, 80000), (32, 5000)])
def test_steps_of_many_channels_are_shorter(
    pipeline: audiotool.Pipeline, step_sizes: list[int], tmp_path: Path, channels: int, longest: int
) -> None:
    """The memory of a step does not grow with the number of channels."""
    seconds = 1.5 * longest / 16000
    x = np.tile(speech_like(seconds, 16000), (channels, 1))
    expected = pipeline(x, 16000)
    hop = pipeline.engine.hop_length
    assert max(step_sizes) <= -(-longest // hop) * hop
    audiotool.write(tmp_path / "in.wav", x, 16000, subtype="FLOAT")
    step_sizes.clear()
    pipeline.process_file(tmp_path / "in.wav", tmp_path / "out.wav")
    assert max(step_sizes) <= -(-longest // hop) * hop
    np.testing.assert_allclose(audiotool.read(tmp_path / "out.wav")[0], expected, atol=1e-5)


def test_large_blocks_of_many_channels_are_cut(pipeline: audiotool.Pipeline, step_sizes: list[int]) -> None:
    live = pipeline.live(16000, 16)
    live.feed(np.tile(speech_like(2.0, 16000), (16, 1)))
    assert max(step_sizes) <= 10000


def test_input_that_is_not_written_to(pipeline: audiotool.Pipeline) -> None:
    x = speech_like(0.1, 16000)
    x.flags.writeable = False
    assert pipeline(x, 16000).shape == x.shape


@pytest.mark.parametrize(
    ("task", "options", "rate", "expected"),
    [
        ("denoise-tiny-16k", {}, 8000, 8000),
        ("denoise-tiny-16k", {"output_rate": 24000}, 8000, 24000),
        ("super-resolve", {}, 16000, 48000),
        ("super-resolve", {}, 44100, 48000),
        ("super-resolve", {}, 96000, 96000),
        ("super-resolve", {"output_rate": 16000}, 8000, 16000),
    ],
)
def test_the_output_has_its_rate_and_lasts_as_long(
    task: str, options: dict[str, Any], rate: int, expected: int
) -> None:
    pipeline = audiotool.load(task, **options)
    live, shared = pipeline.live(rate), pipeline.streams(1).join(rate)
    assert pipeline.output_rate(rate) == live.output_rate == shared.output_rate == expected
    assert len(pipeline(speech_like(0.5, rate)[0], rate)) == -(-(rate // 2) * expected // rate)


def test_the_output_rate_of_no_rate() -> None:
    with pytest.raises(InputError, match="a sample rate is given in Hz"):
        audiotool.load("denoise-tiny-16k").output_rate(0)
