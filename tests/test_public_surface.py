"""The public interface: names, signatures and types."""

from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import audiotool

NAMES = {
    *("AudiotoolError", "CheckpointError", "DependencyError", "DeviceError", "InputError", "PlanError"),
    *("FullError", "RecipeError", "StreamError"),
    *("LiveStream", "Metadata", "Pipeline", "Settings", "SharedStream", "StreamState", "Streams"),
    *("FileResult", "Raw", "Target", "Value", "Written", "__version__"),
    *("load", "load_model", "read", "score", "write"),
}

SIGNATURES = {
    "load": "(name: 'str | Path' = 'denoise', device: 'str | torch.device' = 'auto',"
    " task: 'str | None' = None, engine: 'EngineName' = 'auto', threads: 'int | None' = None, *,"
    " chunk_seconds: 'float | None' = None, mix: 'float' = 1.0, max_attenuation_db: 'float | None' = None,"
    " output_rate: 'int | None' = None, bandwidth_hz: 'float | None' = None, upper_band: 'bool' = True,"
    " follow_removal: 'bool' = True, warm_up: 'bool' = True) -> 'Pipeline'",
    "load_model": "(path: 'str | Path', device: 'str | torch.device' = 'cpu') -> 'Model'",
    "read": "(source: 'str | os.PathLike[str] | BinaryIO') -> 'tuple[NDArray[np.float32], int]'",
    "write": "(path: 'str | os.PathLike[str] | BinaryIO', waveform: 'Array', sample_rate: 'int',"
    " subtype: 'str | None' = None, format: 'str | None' = None) -> 'None'",
    "score": "(reference: 'Array', estimate: 'Array', sample_rate: 'int', metrics: 'str | Sequence[str]',"
    " edge_hz: 'float | None' = None, interferers: 'Sequence[Array]' = ()) -> 'dict[str, Value]'",
    "Pipeline.output_rate": "(self, sample_rate: 'int') -> 'int'",
    "Pipeline.__call__": "(self, waveform: 'Array', sample_rate: 'int',"
    " progress: 'ArrayProgress | None' = None) -> 'Array'",
    "Pipeline.stream": "(self, blocks: 'Iterable[Array]', sample_rate: 'int') -> 'Iterator[Array]'",
    "Pipeline.live": "(self, sample_rate: 'int', channels: 'int | None' = None,"
    " state: 'StreamState | None' = None) -> 'LiveStream'",
    "Pipeline.streams": "(self, capacity: 'int' = 64) -> 'Streams'",
    "Pipeline.enrol": "(self, recording: 'str | os.PathLike[str]') -> 'None'",
    "Pipeline.process_file": "(self, source: 'str | os.PathLike[str]',"
    " target: 'str | os.PathLike[str] | Target', progress: 'Progress | None' = None,"
    " raw: 'Raw | None' = None, f0: 'str | os.PathLike[str] | None' = None) -> 'FileResult'",
    "Pipeline.vocode": "(self, mel: 'Array', f0: 'Array | None' = None) -> 'Array'",
    "LiveStream.feed": "(self, block: 'Array') -> 'Array'",
    "LiveStream.flush": "(self) -> 'Any'",
    "SharedStream.pull": "(self) -> 'Any'",
    "SharedStream.flush": "(self) -> 'Any'",
    "LiveStream.reset": "(self) -> 'None'",
    "LiveStream.state": "(self) -> 'StreamState'",
    "StreamState.save": "(self, path: 'str | os.PathLike[str]') -> 'None'",
    "StreamState.load": "(path: 'str | os.PathLike[str]') -> 'StreamState'",
}


def test_names() -> None:
    assert set(audiotool.__all__) == NAMES == set(dir(audiotool))
    for name in NAMES:
        assert getattr(audiotool, name) is not None
    errors = [getattr(audiotool, name) for name in NAMES if name.endswith("Error")]
    assert all(issubclass(error, audiotool.AudiotoolError) for error in errors)


def test_a_misspelt_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="'audiotool' has no attribute 'laod'"):
        # Type checkers refuse it, too: without that, mypy reports the comment as unused.
        audiotool.laod("denoise")  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name: str) -> None:
    found = audiotool
    for part in name.split("."):
        found = getattr(found, part)
    assert str(inspect.signature(found)) == SIGNATURES[name]  # type: ignore[arg-type]


def test_options_of_load_are_the_settings() -> None:
    options = inspect.signature(audiotool.load).parameters
    settings = inspect.signature(audiotool.Settings).parameters
    spelled = {name for name, p in options.items() if p.kind is p.KEYWORD_ONLY}
    # Whether a model widens the band is its task's, not the caller's.
    assert spelled == set(settings) - {"widens"}
    for name in spelled:
        assert (options[name].default, options[name].annotation) == (
            settings[name].default,
            settings[name].annotation,
        )


def test_results_have_the_type_of_the_samples_and_axes_of_their_own() -> None:
    """mypy checks this test: the comments are reported as unused where a type or axes are wrong."""
    separator, vocoder = audiotool.load("separate"), audiotool.load("harmonic-vocoder-22k")
    x = np.zeros(16000, np.float32)
    stems: np.ndarray[tuple[int, int], np.dtype[np.float32]] = separator(x, 16000)
    assert stems.shape == (2, 16000)
    speech: np.ndarray[tuple[int], np.dtype[np.float16]] = vocoder.vocode(np.zeros((80, 10), np.float16))
    assert speech.ndim == 1
    fed: np.ndarray[tuple[int, int], np.dtype[np.float32]] = separator.live(16000).feed(x)
    assert fed.ndim == 2
    streamed = list[np.ndarray[tuple[int, int], np.dtype[np.float32]]](separator.stream([x], 16000))
    assert {block.ndim for block in streamed} == {2}
    integers: NDArray[np.int16] = separator(x, 16000)  # type: ignore[arg-type]
    assert integers.dtype == np.float32
    tensor: torch.Tensor = separator(torch.zeros(16000), 16000)
    assert tensor.shape == (2, 16000)


def test_the_code_of_the_guide_passes_type_checkers() -> None:
    """mypy checks this test: no line needs a cast."""
    seen: list[float] = []

    def show(done: int, total: int) -> None:
        seen.append(done / total)

    pipeline = audiotool.load("denoise-tiny-16k")
    waveform = np.zeros((1, 1000), np.float32)
    parts = [pipeline(waveform, 16000, show)]
    live = pipeline.live(16000)
    parts.append(live.feed(waveform))
    parts.append(live.flush())
    call = pipeline.streams(1).join(16000)
    call.push(waveform)
    parts.append(call.pull())
    parts.append(call.flush())
    assert np.concatenate(parts, axis=-1).shape == (1, 3000)
    assert seen == [1.0]


def test_a_misspelt_option_names_the_nearest() -> None:
    with pytest.raises(audiotool.AudiotoolError, match="no option 'mixx'; did you mean 'mix'"):
        # Type checkers refuse it, too: without that, mypy reports the comment as unused.
        audiotool.load("denoise", mixx=0.5)  # type: ignore[call-arg]
    with pytest.raises(audiotool.AudiotoolError, match="mix is from 0"):
        audiotool.load("denoise", mix=2.0)
    assert np.allclose(audiotool.load("denoise", mix=0.0)(np.zeros(100), 16000), 0.0)


def test_public_names_are_lazy_and_complete() -> None:
    program = (
        "import sys, audiotool; names = dir(audiotool); assert 'numpy' not in sys.modules;"
        "[getattr(audiotool, n) for n in names]; assert 'torch' not in sys.modules; print(*names)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == sorted(audiotool.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        audiotool.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_streams_and_states_are_shown_in_one_line() -> None:
    pipeline = audiotool.load("denoise-tiny-16k")
    streams, live = pipeline.streams(4), pipeline.live(48000, 2)
    call = streams.join(8000)
    name = pipeline.engine.name
    assert repr(streams) == f"<Streams: {name} at 16000 Hz, 1 joined, 3 of 4 rows free>"
    for stream, words in (
        (live, "<LiveStream: {}, 2 channels at 48000"),
        (call, "<SharedStream: {}, 1 channel at 8000"),
    ):
        latency = f"latency {1000 * stream.latency_seconds:.1f} ms>"
        assert repr(stream) == f"{words.format(name)} Hz, {latency}"
    assert "values" not in repr(live.state())
    assert len(repr(live.state())) < 1000


def test_streams_are_true_before_one_joins() -> None:
    assert audiotool.load("denoise-tiny-16k").streams(1)
