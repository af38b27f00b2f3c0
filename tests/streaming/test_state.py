"""A live stream as a value: it goes on in another process as if nothing had happened."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kit.audio import speech_like
from kit.models import CAUSAL, build, make_input
from kit.patience import PATIENCE
from safetensors import safe_open
from safetensors.numpy import save_file

import audiotool
from audiotool import named_checkpoints
from audiotool.arrays import LOUDEST
from audiotool.engines.pytorch import TorchEngine
from audiotool.errors import InputError, StreamError
from audiotool.pipeline import Pipeline
from audiotool.streaming.make import make_streamer
from audiotool.streaming.state import FORMAT, KEY, StreamState

HOP = 256


@pytest.fixture(scope="module")
def denoiser() -> Pipeline:
    return audiotool.load("denoise-tiny-16k")


def whole(pipeline: Pipeline, x: np.ndarray, rate: int, **options: Any) -> np.ndarray:
    live = pipeline.live(rate, x.shape[0])
    return np.concatenate([live.feed(x), live.flush()], axis=-1)


@pytest.mark.parametrize("name", named_checkpoints.bundled())
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2)])
def test_a_stream_goes_on_from_its_file(name: str, rate: int, channels: int, tmp_path: Path) -> None:
    pipeline = audiotool.load(name)
    x = speech_like(1.0, rate, channels)
    x[:, : rate // 4] *= 0.001  # what follows is an onset
    live, uninterrupted = pipeline.live(rate, channels), pipeline.live(rate, channels)
    parts, expected = [], []
    cuts = [0, 1, 700, rate // 4 + 100, rate // 2 + 33, rate]
    for begin, end in itertools.pairwise(cuts):
        expected.append(uninterrupted.feed(x[:, begin:end]))
        parts.append(live.feed(x[:, begin:end]))
        live.state().save(tmp_path / "state.safetensors")
        live = pipeline.live(rate, state=StreamState.load(tmp_path / "state.safetensors"))
    for block, other in zip((*parts, live.flush()), (*expected, uninterrupted.flush()), strict=True):
        np.testing.assert_allclose(block, other, atol=1e-6)


@pytest.mark.parametrize("name", CAUSAL)
def test_every_causal_model_goes_on_from_its_state(name: str) -> None:
    engine = TorchEngine(build(name))
    x = make_input(engine.model, batch=2).numpy()
    middle = x.shape[-1] // 3
    streamer = make_streamer(engine)
    before = streamer.feed(x[..., :middle])
    state = pickle.loads(pickle.dumps(streamer.state()))
    expected = np.concatenate((streamer.feed(x[..., middle:]), streamer.flush()), axis=-1)
    other = make_streamer(engine)
    other.restore(state)
    found = np.concatenate((other.feed(x[..., middle:]), other.flush()), axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-6 * max(1.0, np.abs(before).max(initial=0)))


def test_a_model_that_looks_ahead_goes_on_from_its_state(tmp_path: Path) -> None:
    from audiotool.streaming.session import Settings

    engine = TorchEngine(build("mp-senet"))
    assert not engine.causal
    pipeline = Pipeline(engine, "denoise", settings=Settings(chunk_seconds=0.5))
    x = speech_like(1.7, engine.sample_rate)[0]
    live = pipeline.live(engine.sample_rate)
    live.feed(x[:20000])
    live.state().save(tmp_path / "a.safetensors")
    other = pipeline.live(engine.sample_rate, state=StreamState.load(tmp_path / "a.safetensors"))
    rest = [np.concatenate((one.feed(x[20000:]), one.flush()), axis=-1) for one in (live, other)]
    np.testing.assert_allclose(rest[1], rest[0], atol=1e-6)


KILLED = """
import os, signal, sys
import numpy as np, audiotool
x = np.load(sys.argv[1])
live = audiotool.load("denoise-tiny-16k").live(22050)
for n in range(0, len(x), 500):
    out = live.feed(x[n : n + 500])
    np.save(f"{sys.argv[2]}/{n:06d}.npy", out)
    live.state().save(f"{sys.argv[2]}/state.safetensors")
    if n == 6000:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_is_gone_on_from(denoiser: Pipeline, tmp_path: Path) -> None:
    x = speech_like(1.0, 22050)[0]
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "out").mkdir()
    command = (sys.executable, "-c", KILLED, tmp_path / "x.npy", tmp_path / "out")
    assert subprocess.run(command, timeout=PATIENCE).returncode == -signal.SIGKILL
    parts = [np.load(path) for path in sorted((tmp_path / "out").glob("*.npy"))]
    live = denoiser.live(22050, state=StreamState.load(tmp_path / "out/state.safetensors"))
    parts += [live.feed(x[6500:]), live.flush()]
    live = denoiser.live(22050)
    expected = [live.feed(x[n : n + 500]) for n in range(0, 6500, 500)]
    expected += [live.feed(x[6500:]), live.flush()]
    np.testing.assert_allclose(np.concatenate(parts), np.concatenate(expected), atol=1e-6)


def test_a_state_stays_when_the_stream_goes_on(denoiser: Pipeline) -> None:
    x = speech_like(1.0, 44100)[0]
    live = denoiser.live(44100)
    live.feed(x[:20000])
    state = live.state()
    first = np.concatenate((live.feed(x[20000:]), live.flush()))
    for again in (state, pickle.loads(pickle.dumps(state))):
        other = denoiser.live(44100, state=again)
        np.testing.assert_array_equal(np.concatenate((other.feed(x[20000:]), other.flush())), first)


def test_a_state_that_an_earlier_version_pickled_is_refused_as_such(
    denoiser: Pipeline, tmp_path: Path
) -> None:
    state = denoiser.live(16000).state()
    assert state.format == FORMAT
    # What 0.2.0 pickled is a dictionary without a format.
    del state.__dict__["format"]
    earlier = pickle.loads(pickle.dumps(state))
    message = rf"is a stream's state of format 1, this audiotool reads {FORMAT}: begin the stream anew"
    for begin in (denoiser.live, denoiser.streams(2).join):
        with pytest.raises(StreamError, match=message):
            begin(16000, state=earlier)
    earlier.save(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=message):
        StreamState.load(tmp_path / "a.safetensors")


def test_states_are_compared_without_an_error(denoiser: Pipeline) -> None:
    live = denoiser.live(16000)
    live.feed(speech_like(0.1, 16000)[0])
    state = live.state()
    assert state == state
    assert state != live.state()
    assert len({state, live.state()}) == 2


def test_the_kind_of_array_is_part_of_the_state(denoiser: Pipeline) -> None:
    x = (speech_like(0.3, 16000)[0] * 32768).astype(np.int16)
    live = denoiser.live(16000)
    live.feed(x)
    tail = denoiser.live(16000, state=live.state()).flush()
    assert tail.dtype == np.int16
    np.testing.assert_array_equal(tail, live.flush())


def test_a_state_before_the_first_block(denoiser: Pipeline) -> None:
    x = speech_like(0.3, 16000)
    live = denoiser.live(16000, state=denoiser.live(16000).state())
    parts = [live.feed(x), live.flush()]
    np.testing.assert_array_equal(np.concatenate(parts, axis=-1), whole(denoiser, x, 16000))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoint_sha256": "ab" * 32}, "of another checkpoint"),
        ({"checkpoint_sha256": ""}, "of another checkpoint"),
        ({"engine": "torch"}, "of the engine torch, not of onnx: load the pipeline with engine='torch'"),
        ({"model": "cleanunet"}, "of the model cleanunet"),
        ({"sample_rate": 8000}, "of a stream of 8000 Hz, not of 16000 Hz"),
        ({"channels": 2}, "of a stream of 2 channels, not of 1"),
    ],
)
def test_states_of_others_are_refused(denoiser: Pipeline, changes: dict[str, Any], message: str) -> None:
    state = dataclasses.replace(denoiser.live(16000).state(), **changes)
    with pytest.raises(StreamError, match=message) as caught:
        denoiser.live(16000, 1, state=state)
    assert "\n" not in str(caught.value)


def test_a_state_of_another_rate_is_not_called_one_of_another_model() -> None:
    pipeline = audiotool.load("denoise")
    state = pipeline.live(48000).state()
    with pytest.raises(StreamError, match="of a stream of 48000 Hz, not of 16000 Hz"):
        pipeline.live(16000, state=state)


def edited(path: Path, edit: Any) -> Path:
    """A state's file with its header changed."""
    with safe_open(path, "np") as file:
        header = json.loads(file.metadata()[KEY])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    edit(header, arrays)
    save_file(arrays, path, {KEY: json.dumps(header)})
    return path


def other_format(header: dict[str, Any], arrays: dict[str, Any]) -> None:
    header["format"] = 1


def no_rate(header: dict[str, Any], arrays: dict[str, Any]) -> None:
    header["sample_rate"] = "16000"


def strange_kind(header: dict[str, Any], arrays: dict[str, Any]) -> None:
    header["values"] = {"object": "os.system"}


def lost_array(header: dict[str, Any], arrays: dict[str, Any]) -> None:
    del arrays[min(arrays)]


def bad_settings(header: dict[str, Any], arrays: dict[str, Any]) -> None:
    header["settings"]["mix"] = 7


def huge_setting(header: dict[str, Any], arrays: dict[str, Any]) -> None:
    header["settings"]["mix"] = 10**400


def many_settings(header: dict[str, Any], arrays: dict[str, Any]) -> None:
    header["settings"] |= {f"{n:0500}": 0.0 for n in range(100)}


def new_setting(header: dict[str, Any], arrays: dict[str, Any]) -> None:
    header["settings"]["gain_db"] = 0.0


def new_fact(header: dict[str, Any], arrays: dict[str, Any]) -> None:
    header["gain_db"] = 0.0


@pytest.mark.parametrize("edit", [new_setting, new_fact])
def test_a_state_of_a_later_version_is_refused_as_such(denoiser: Pipeline, tmp_path: Path, edit: Any) -> None:
    denoiser.live(16000).state().save(tmp_path / "a.safetensors")
    message = "with 'gain_db', which this audiotool does not know: begin the stream anew, or go on with the"
    with pytest.raises(InputError, match=message):
        StreamState.load(edited(tmp_path / "a.safetensors", edit))


def test_unknown_settings_of_any_number_give_a_short_line(denoiser: Pipeline, tmp_path: Path) -> None:
    denoiser.live(16000).state().save(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="which this audiotool does not know") as caught:
        StreamState.load(edited(tmp_path / "a.safetensors", many_settings))
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


@pytest.mark.parametrize(
    "edit", [other_format, no_rate, strange_kind, lost_array, bad_settings, huge_setting]
)
def test_files_that_hold_no_state_are_refused(denoiser: Pipeline, tmp_path: Path, edit: Any) -> None:
    live = denoiser.live(16000)
    live.feed(np.zeros(1000))
    live.state().save(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="format 1" if edit is other_format else "not the state") as caught:
        StreamState.load(edited(tmp_path / "a.safetensors", edit))
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no")
    for path in (tmp_path / "none", tmp_path / "text", *named_checkpoints.bundled().values()):
        with pytest.raises(InputError, match=r"no such file|not the state"):
            StreamState.load(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "a path is a str or a Path, got NoneType"),
        ("", "a path is empty"),
        ("s3://bucket/a.safetensors", "is a URL"),
        ("a\0b", "no file can be named"),
        pytest.param(
            *("a\ud800", "no file can be named"),
            marks=pytest.mark.skipif(sys.platform == "win32", reason="such a name is possible"),
        ),
    ],
)
def test_states_are_local_files(
    denoiser: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for use in (denoiser.live(16000).state().save, StreamState.load):
        with pytest.raises(InputError, match=message):
            use(path)
    assert not list(tmp_path.iterdir())


def test_a_folder_takes_no_state(denoiser: Pipeline) -> None:
    with pytest.raises(InputError, match=r"cannot write \.: it is a folder"):
        denoiser.live(16000).state().save(".")


@pytest.mark.parametrize("shape", [(3, 5), (0,), (9, 9, 9, 9), ()])
def test_a_state_that_was_tampered_with_is_refused(
    denoiser: Pipeline, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    live = denoiser.live(44100)
    live.feed(speech_like(0.5, 44100)[0])
    live.state().save(tmp_path / "a.safetensors")
    original = (tmp_path / "a.safetensors").read_bytes()
    with safe_open(tmp_path / "a.safetensors", "np") as file:
        names = sorted(file.keys())
    refused = 0
    for name in names:
        (tmp_path / "a.safetensors").write_bytes(original)

        def reshape(header: dict[str, Any], arrays: dict[str, Any], name: str = name) -> None:
            arrays[name] = np.zeros(shape, arrays[name].dtype)

        state = StreamState.load(edited(tmp_path / "a.safetensors", reshape))
        try:
            denoiser.live(44100, state=state).feed(np.zeros(3000))
        except StreamError:
            refused += 1
    assert refused >= len(names) - 3


@pytest.mark.parametrize("name", named_checkpoints.bundled())
def test_a_block_far_beyond_full_scale_does_a_stream_no_harm(name: str, tmp_path: Path) -> None:
    pipeline = audiotool.load(name)
    x = speech_like(0.5, 16000)[0]
    live, plain = pipeline.live(16000), pipeline.live(16000)
    for stream in (live, plain):
        stream.feed(x)
    for value, message in (
        (3e38, r"holds 3e\+38 at sample 7 of channel 1, far beyond full scale"),
        (-2e12, r"holds -2e\+12 at sample 7 of channel 1, far beyond full scale"),
        (np.inf, "holds inf at sample 7 of channel 1$"),
        (np.nan, "holds nan at sample 7 of channel 1$"),
    ):
        with pytest.raises(InputError, match=message):
            live.feed(np.where(np.arange(160) == 7, np.float32(value), 0))
    np.testing.assert_array_equal(live.feed(x), plain.feed(x))
    # The loudest samples that are taken leave a state of numbers.
    live.feed(np.full(8000, LOUDEST, np.float32))
    assert np.isfinite(live.feed(x)).all()
    live.state().save(tmp_path / "state.safetensors")


def test_a_state_that_is_not_finite_is_neither_saved_nor_read(denoiser: Pipeline, tmp_path: Path) -> None:
    live, streams = denoiser.live(16000), denoiser.streams(2)
    shared, other = streams.join(16000), streams.join(16000)
    x, huge = speech_like(0.5, 16000), np.full((1, 1600), 3e38, np.float32)
    live.feed(x)
    good = live.state()
    shared.push(x)
    other.push(x)
    # Past the check of the input, as a model would that overflows at less.
    with np.errstate(all="ignore"):
        live.session.feed(huge)
        shared.session.push(huge)
        other.push(x)
        while streams.step():
            pass
        with pytest.raises(InputError, match="A live stream has to be begun anew"):
            live.feed(x)
    for stream in (live, shared):
        with pytest.raises(StreamError, match="state holds NaN or infinity: begin the stream anew"):
            stream.state()
    expected = denoiser.live(16000).feed(np.concatenate((x, x), axis=-1))
    np.testing.assert_allclose(other.pull(), expected, atol=1e-5)
    live.reset()
    assert np.isfinite(live.feed(x)).all()

    def spoil(header: dict[str, Any], arrays: dict[str, Any]) -> None:
        array = next(a for name, a in sorted(arrays.items()) if a.dtype.kind == "f" and a.size)
        array.flat[-1] = np.nan

    good.save(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"or damaged \(it holds NaN or infinity\)$"):
        StreamState.load(edited(tmp_path / "a.safetensors", spoil))
    good.values["session"]["_share"] = np.inf
    with pytest.raises(StreamError, match="this state of a stream is damaged"):
        denoiser.live(16000, state=good)


def test_a_stream_that_has_ended_has_no_state(denoiser: Pipeline) -> None:
    live = denoiser.live(16000)
    live.feed(np.zeros(10))
    live.flush()
    with pytest.raises(StreamError, match="this stream has ended"):
        live.state()
    with pytest.raises(StreamError, match="this stream has ended"):
        live.feed(np.zeros(10))
    with pytest.raises(StreamError, match="this stream has ended"):
        live.flush()


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_copying_a_stream_names_its_state(denoiser: Pipeline, copied: Callable[[Any], object]) -> None:
    """A copy of a shared stream would take the other's samples."""
    streams = denoiser.streams(2)
    for stream in (denoiser.live(16000), streams.join(16000), streams):
        with pytest.raises(StreamError, match=r"not copied: keep stream.state\(\)"):
            copied(stream)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_settings_count_from_the_samples_fed_after_them(denoiser: Pipeline, rate: int) -> None:
    x = speech_like(0.5, rate)[0]
    live, plain = denoiser.live(rate), denoiser.live(rate)
    at, moving = rate // 4, round(0.015 * rate)
    parts = [live.feed(x[:at])]
    live.settings = dataclasses.replace(live.settings, mix=0.25)
    got = np.concatenate([*parts, live.feed(x[at:]), live.flush()])
    cleaned = np.concatenate([plain.feed(x), plain.flush()])
    np.testing.assert_array_equal(got[:at], cleaned[:at])
    mixed = 0.25 * cleaned + 0.75 * x
    np.testing.assert_allclose(got[at + moving :], mixed[at + moving :], atol=1e-6)


def test_settings_that_have_changed_are_those_of_the_state(denoiser: Pipeline) -> None:
    live = denoiser.live(16000)
    live.feed(speech_like(0.1, 16000)[0])
    live.settings = dataclasses.replace(live.settings, mix=0.25)
    assert denoiser.live(16000, state=live.state()).settings.mix == 0.25


def test_settings_that_are_still_moving_go_on(denoiser: Pipeline) -> None:
    x = speech_like(0.5, 16000)[0]
    live = denoiser.live(16000)
    live.feed(x[:4000])
    live.settings = dataclasses.replace(live.settings, mix=0.0)
    live.feed(x[4000:4200])
    again = denoiser.live(16000, state=live.state())
    np.testing.assert_array_equal(again.feed(x[4200:]), live.feed(x[4200:]))


@pytest.mark.parametrize(
    "changes", [{"chunk_seconds": 1.0}, {"output_rate": 8000}, {"upper_band": False}, {"warm_up": False}]
)
def test_settings_that_come_too_late_are_refused(denoiser: Pipeline, changes: dict[str, Any]) -> None:
    live = denoiser.live(16000)
    with pytest.raises(StreamError, match=f"{next(iter(changes))} is settled when a stream begins"):
        live.settings = dataclasses.replace(live.settings, **changes)
    with pytest.raises(StreamError, match="settings are a Settings"):
        live.settings = {"mix": 0.5}  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        live.mix = 0.5  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_int16_in_is_int16_out(denoiser: Pipeline, kind: str) -> None:
    x = np.clip(speech_like(0.5, 16000, 2) * 65536, -32768, 32767).astype(np.int16)
    block = x if kind == "numpy" else torch.from_numpy(x)
    live = denoiser.live(16000, 2)
    parts = [live.feed(block), live.flush()]
    assert all(part.dtype == block.dtype for part in parts)
    found = np.concatenate([np.asarray(part) for part in parts], axis=-1)
    expected = whole(denoiser, x / np.float32(32768), 16000) * 32768
    np.testing.assert_array_equal(found, np.rint(expected).clip(-32768, 32767))
    unchanged = audiotool.load("denoise-tiny-16k", mix=0.0).live(16000, 2)
    same = np.concatenate([unchanged.feed(x), unchanged.flush()], axis=-1)
    np.testing.assert_array_equal(same, x)
