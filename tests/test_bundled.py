"""The bundled checkpoints are whole, described, and do on the demo recording what they did when bundled."""

from __future__ import annotations

import copy
import itertools
import shutil
import subprocess
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
import soundfile
import soxr
import torch
from kit.streams import stream

import audiotool
from audiotool import checkpoint, named_checkpoints
from audiotool.dsp.mel import StreamingMel
from audiotool.engines.base import Engine
from audiotool.engines.onnx import OnnxEngine
from audiotool.engines.pytorch import TorchEngine
from audiotool.exporting.names import nodes_of
from audiotool.metrics.score import score
from audiotool.models.base import Model
from audiotool.models.vocoder import Vocoder
from audiotool.streaming.resample import StreamingResampler

DEMO = Path(__file__).parent / "data" / "audio" / "demo"
NAMES = list(named_checkpoints.bundled())
TASK_OF = {name: checkpoint.read_metadata(path).task for name, path in named_checkpoints.bundled().items()}
OF_WAVEFORMS = [name for name, task in TASK_OF.items() if task != "vocode"]

GOLDEN = {
    "denoise-16k": {"pesq": 2.363, "stoi": 0.933, "si_sdr": 12.260},
    "denoise-large-16k": {"pesq": 2.402, "stoi": 0.934, "si_sdr": 12.564},
    "denoise-tiny-16k": {"pesq": 1.842, "stoi": 0.902, "si_sdr": 9.777},
}
"""Scores of the demo recording; the input has 1.212, 0.891 and 3.388."""


def read(name: str) -> np.ndarray:
    samples, rate = soundfile.read(DEMO / name, dtype="float32")
    assert rate == 16000
    return samples


def test_nothing_was_changed() -> None:
    assert NAMES
    found = named_checkpoints.verify()
    assert set(found.values()) == {"ok"}
    assert {f"{name}.safetensors" for name in NAMES} <= found.keys()
    assert {Path(name).suffix for name in found} == {".safetensors", ".onnx", ".json"}


def test_a_checkout_by_git_for_windows_has_the_same_bytes(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "core.autocrlf=true", *words], cwd=tmp_path, check=True)

    top, names = Path(__file__).parents[1], [".gitattributes", "checkpoints/SHA256SUMS", "README.md"]
    (tmp_path / "checkpoints").mkdir()
    for name in names:
        shutil.copyfile(top / name, tmp_path / name)
    git("init", "--quiet")
    git("add", ".")
    for name in names:
        (tmp_path / name).unlink()
    git("checkout", "--quiet", "--", ".")
    for name in names:
        assert (tmp_path / name).read_bytes() == (top / name).read_bytes()


def test_graphs_take_their_weights_from_the_checkpoint() -> None:
    for path in named_checkpoints.bundled().values():
        graph = checkpoint.graph_of(path)
        if graph is not None:
            assert graph.stat().st_size < 1_000_000
            engine = OnnxEngine.open(graph, path)
            assert engine.sample_rate == checkpoint.read_metadata(path).sample_rate


def test_nodes_of_graphs_have_names_of_their_own() -> None:
    graphs = list(named_checkpoints.bundled_root("checkpoints").glob("*.onnx"))
    assert graphs
    for graph in graphs:
        names = [node.name for node in nodes_of(onnx.load(graph, load_external_data=False).graph)]
        assert "" not in names, graph
        assert len(set(names)) == len(names), graph


@pytest.mark.parametrize(
    ("name", "seconds"), [("denoise-16k", 8.0), ("denoise-48k", 8.0), ("two-speakers-16k", 12.0)]
)
def test_graphs_are_warmed_up_for_as_long_as_their_models(name: str, seconds: float) -> None:
    path = named_checkpoints.bundled()[name]
    graph = checkpoint.graph_of(path)
    assert graph is not None
    assert OnnxEngine.open(graph, path).warm_up_seconds == seconds
    assert checkpoint.load(path)[0].warm_up_seconds == seconds


def streamed(engine: Engine, x: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """A whole stream of chunks of these sizes, again and again."""
    state, parts, first = engine.start(), [], 0
    for size in itertools.cycle(sizes):
        output, state = engine.step(x[..., first : first + size], state)
        parts.append(output)
        first += size
        if first >= x.shape[-1]:
            break
    parts.append(engine.step(x[..., :0], state, final=True)[0])
    return np.concatenate(parts, axis=-1)[..., : engine.output_length(x.shape[-1])]


def heard_by(model: Model) -> np.ndarray:
    """Two seconds of the demo, as the model takes them."""
    samples = read("noisy.flac")[16000:48000]
    resampler = StreamingResampler(16000, model.sample_rate, 1)
    samples = np.concatenate((resampler.feed(samples[None]), resampler.flush()), axis=-1).astype(np.float32)
    if not isinstance(model, Vocoder):
        return samples[None]
    return StreamingMel(model.mel).step(samples, None, final=True)[0]


@pytest.mark.parametrize("name", NAMES)
def test_graphs_equal_their_models_for_any_cut_of_a_stream(name: str) -> None:
    """Within 1e-5 of the peak, or as near to double precision as the model itself is in single.

    A network may be ill-conditioned: sources divided by their own power (super-resolve-48k), memories that
    add up rounding (two-speakers-16k), iterations that amplify it (the vocoder). There two orders of
    summation differ, and neither is the right one.
    """
    path = named_checkpoints.bundled()[name]
    model, _ = checkpoint.load(path)
    graph = checkpoint.graph_of(path)
    assert graph is not None
    engines = {"onnx": OnnxEngine.open(graph, path), "torch": TorchEngine(model)}
    x = heard_by(model)
    hop = model.hop_length
    with torch.inference_mode():
        exact = copy.deepcopy(model).double().process(torch.from_numpy(x).double()).numpy()

    def off(found: np.ndarray) -> float:
        return float(np.abs(found - exact).max() / np.abs(exact).max())

    bound = max(1e-5, 2 * off(engines["torch"].process(x)))
    for kind, engine in engines.items():
        cuts: list[tuple[int, ...]] = [(hop,), (7 * hop,), (hop // 3 + 1, 2 * hop + 5, 1)]
        found = {str(sizes): streamed(engine, x, sizes) for sizes in cuts} | {"whole": engine.process(x)}
        assert {cut: off(y) for cut, y in found.items() if off(y) > bound} == {}, kind


@pytest.mark.parametrize("name", NAMES)
def test_card_and_licence_trail(name: str) -> None:
    path = named_checkpoints.bundled()[name]
    card = path.with_suffix(".md").read_text()
    metadata = checkpoint.read_metadata(path)
    assert checkpoint.sha256(path) in card
    assert metadata.recipe is not None
    assert metadata.sources
    assert all(source["licence"] and source["name"] in card for source in metadata.sources)


@pytest.mark.parametrize(("name", "expected"), GOLDEN.items())
def test_demo_scores(name: str, expected: dict[str, float]) -> None:
    enhanced = audiotool.load(name)(read("noisy.flac"), 16000)
    values = score(read("clean.flac"), enhanced, 16000, list(expected))
    assert {m: v.value for m, v in values.items()} == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("name", OF_WAVEFORMS)
def test_the_bare_network_is_called_on_whole_waveforms(name: str) -> None:
    model = audiotool.load_model(name)
    x = torch.from_numpy(read("noisy.flac"))[None, None, :4000]
    with torch.inference_mode():
        y = model(x)
        assert y.shape == (1, len(model.stems), 4000)
        torch.testing.assert_close(y, model.process(x), atol=0, rtol=0)


@pytest.mark.parametrize("name", OF_WAVEFORMS)
def test_streamed_equals_whole_and_latency_is_low(name: str) -> None:
    model = audiotool.load_model(name)
    assert model.latency / model.sample_rate <= 0.040
    # Faster speech would be no speech: a stream resets a part of its state after seconds without any.
    x = torch.from_numpy(soxr.resample(read("noisy.flac"), 16000, model.sample_rate))[None, None]
    with torch.inference_mode():
        whole = model.process(x)
    streamed = stream(model).process(x, 1777)
    assert (streamed - whole).abs().max() <= 1e-5 * whole.abs().max()


def test_short_files_are_cleaner_for_a_beginning_and_more_so_after_a_warm_up() -> None:
    """PESQ of six cuts of 3 s: begun with nothing, as live streams begin, and as files do."""
    noisy, clean = read("noisy.flac"), read("clean.flac")
    nothing, live = (audiotool.load("denoise", engine="torch", warm_up=False) for _ in range(2))
    assert isinstance(nothing.engine, TorchEngine)
    for name, parameter in nothing.engine.model.named_parameters():
        if ".beginning." in name:
            parameter.data.zero_()
    means = []
    for pipeline in (nothing, live, audiotool.load("denoise")):
        cuts = [slice(begin, begin + 48000) for begin in range(0, len(noisy) - 48000, 16000)]
        scores = [score(clean[c], pipeline(noisy[c], 16000), 16000, ["pesq"])["pesq"].value for c in cuts]
        means.append(np.mean([value for value in scores if value is not None]))
    assert means[1] > means[0] + 0.05
    assert means[2] > means[0] + 0.1
    assert means[2] > means[1] + 0.02


@pytest.mark.parametrize("warm_up", [True, False])
def test_arrays_files_and_streams_have_the_same_warm_up_and_live_never(warm_up: bool, tmp_path: Path) -> None:
    noisy = read("noisy.flac")
    blocks = np.array_split(noisy, 50)
    pipeline = audiotool.load("denoise", warm_up=warm_up)
    whole = pipeline(noisy, 16000)
    tolerance = 1e-5 * np.abs(whole).max()
    np.testing.assert_allclose(np.concatenate(list(pipeline.stream(blocks, 16000))), whole, atol=tolerance)
    soundfile.write(tmp_path / "in.wav", noisy, 16000, "FLOAT")
    pipeline.process_file(tmp_path / "in.wav", tmp_path / "out.wav")
    np.testing.assert_allclose(audiotool.read(tmp_path / "out.wav")[0][0], whole, atol=tolerance)
    live = pipeline.live(16000)
    fed = np.concatenate([*(live.feed(block) for block in blocks), live.flush()])
    assert np.allclose(fed, whole, atol=tolerance) is not warm_up


@pytest.mark.parametrize("task", ["denoise", "separate", "super-resolve", "vocode"])
def test_the_tasks_default_is_bundled(task: str) -> None:
    for rate in (16000, 48000):
        assert TASK_OF[named_checkpoints.default_for(task, rate).stem] == task


def test_the_denoiser_leaves_clean_speech_and_silence_alone() -> None:
    pipeline = audiotool.load("denoise")
    clean = read("clean.flac")
    kept = pipeline(clean, 16000)
    assert 20 * np.log10(np.std(kept) / np.std(clean)) == pytest.approx(0, abs=1)
    assert score(clean, kept, 16000, ["pesq"])["pesq"].value >= 4.0  # type: ignore[operator]
    assert not pipeline(np.zeros(16000, np.float32), 16000).any()


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_the_super_resolver_does_not_hear_an_offset(engine: Literal["onnx", "torch"]) -> None:
    """In files and live; the last frame ends with the offset, which is a click."""
    x = soxr.resample(read("clean.flac")[16000:48000], 16000, 48000)
    pipeline = audiotool.load("super-resolve", engine=engine)

    def live(samples: np.ndarray) -> np.ndarray:
        session = pipeline.live(48000)
        return np.concatenate((session.feed(samples), session.flush()))

    for process in (lambda samples: pipeline(samples, 48000), live):
        plain, other = (process(samples) - samples for samples in (x, x + np.float32(0.1)))
        difference = (other - plain)[:-1024]
        assert np.std(plain) > 1e-4
        assert np.std(difference) < 0.02 * np.std(plain)
