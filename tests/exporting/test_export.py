"""A graph does what its model does, however a stream is cut; what has no graph says why."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
import torch
from kit.checkpoints import save_model
from kit.models import CAUSAL
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from audiotool import checkpoint
from audiotool.dsp.level import Level
from audiotool.engines.card import OPSET
from audiotool.engines.onnx import OnnxEngine
from audiotool.errors import ExportError
from audiotool.exporting.export import export
from audiotool.exporting.fourier import Table, tables
from audiotool.exporting.names import nodes_of, shorten_names
from audiotool.exporting.real_pairs import ComplexPair, irfft, rfft
from audiotool.exporting.shared_weights import share_weights
from audiotool.exporting.single_steps import split_single_steps
from audiotool.models.base import Model, measure_level
from audiotool.models.registry import MODELS
from audiotool.models.vocoder import Vocoder
from audiotool.tasks.base import served_by

ROOT = Path(__file__).parents[2]
BANDS = {"n_fft": 64, "hop_length": 32, "bands": [[4, 4], [2, 8]], "dim": 8, "layers": 1}
VOCODER: dict[str, Any] = {
    "mel": {"sample_rate": 8000, "n_fft": 128, "hop_length": 32, "n_mels": 12, "padding": "same"},
    "dim": 16,
    "intermediate_dim": 24,
    "num_layers": 1,
    "pitch_bins": 16,
}

EXPORTED: dict[str, tuple[str, dict[str, Any]]] = {
    "denoiser": ("band-split-gru", {**BANDS, "learnt_start": True}),
    "separator": (
        "band-split-gru",
        {**BANDS, "layers": 2, "memory": 6, "memory_every": 2, "stems": ["speaker1", "speaker2"]},
    ),
    "extender": (
        "spectral-convnext",
        {"n_fft": 64, "hop_length": 32, "head": "extend", "dim": 12, "blocks": 2},
    ),
    "source and filter": (
        "bandwidth-extension",
        {"n_fft": 64, "hop_length": 32, "bands": 8, "dim": 12, "layers": 2},
    ),
    "vocoder": (
        "harmonic-vocoder",
        {**VOCODER, "iterations": 2, "freedom": 0.5},
    ),
    "vocoder in real time": (
        "harmonic-vocoder",
        {**VOCODER, "inversion": "real-time", "iterations": 3, "lookahead": 2},
    ),
    "attention": (
        "cleanunet",
        {
            "channels_h": 4,
            "n_layers": 2,
            "kernel_size": 12,
            "stride": 8,
            "transformer_layers": 2,
            "transformer_heads": 2,
            "transformer_dim": 8,
            "transformer_inner_dim": 8,
            "attention_window": 30,
        },
    ),
    "cumulative": (
        "conv-tasnet",
        {
            "filters": 8,
            "bottleneck_channels": 6,
            "hidden_channels": 8,
            "skip_channels": 6,
            "blocks": 2,
            "stacks": 1,
        },
    ),
}
EXPORTED |= {
    "all bands": ("full-band-gru", {**MODELS.get("full-band-gru").small}),
    "convolutions over frequency": ("fastenhancer", {**MODELS.get("fastenhancer").small}),
    # 300 frames a second: more than one block of its running means.
    "running means": ("deepfilternet3", {**MODELS.get("deepfilternet3").small}),
    "LSTM": ("dtln", {**MODELS.get("dtln").small}),
    "reflected edges": (
        "gtcrn",
        {"n_fft": 128, "hop_length": 64, "low_bins": 17, "erb_bands": 16, "channels": 4, "dilations": [1]},
    ),
    "F0": (
        "nsf",
        {
            "mel": {"sample_rate": 8000, "n_fft": 64, "hop_length": 16, "n_mels": 6},
            "hidden_dim": 8,
            "blstm_dim": 8,
            "filter_blocks": 1,
            "convs_per_block": 2,
            "harmonics": 2,
            "backward_block": 5,
            "backward_lookahead": 7,
        },
    ),
    "spectrum": (
        "vocos",
        {
            "mel": {"sample_rate": 8000, "n_fft": 128, "hop_length": 32, "n_mels": 6, "padding": "same"},
            "causal": True,
            "padding": "same",
            "n_fft": 128,
            "dim": 16,
            "intermediate_dim": 24,
            "num_layers": 2,
        },
    ),
    "patches": ("afilm", {**MODELS.get("afilm").small}),
    "recurrent patches": ("tfilm", {**MODELS.get("tfilm").small}),
}
REFUSED = {
    "mp-senet": "looks ahead",
    "wavenet": "every sample from those before",
    "personalised-transformer": "an enrolment of any length",
}
"""Models without a graph -> what the refusal says."""
EXPORTED |= {
    name: (name, {**MODELS.get(name).small})
    for name in CAUSAL
    if name not in REFUSED and name not in {architecture for architecture, _ in EXPORTED.values()}
}


def build(name: str) -> Model:
    """A small network of random weights, with something learnt at its beginning."""
    torch.manual_seed(0)
    architecture, config = EXPORTED[name]
    model = MODELS.get(architecture).from_config(config).eval()
    for key, value in model.named_parameters():
        if ".beginning." in key:
            torch.nn.init.normal_(value.data, std=0.3)
    return model


@pytest.fixture(scope="module", params=EXPORTED)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Model, OnnxEngine]:
    """A model, and the engine of its graph."""
    folder: Path = tmp_path_factory.mktemp("graph")
    model = build(request.param)
    path = save_model(folder / "model.safetensors", model, served_by(model)[0])
    card, parity = export(path, folder / "model.onnx")
    assert parity.worst <= model.rounding
    assert card.delay + model.hop_length >= 1
    return model, OnnxEngine.open(folder / "model.onnx", path)


def sound(model: Model, items: int, batch: int = 1) -> torch.Tensor:
    x = 0.1 * torch.randn(batch, model.input_channels, items, generator=torch.Generator().manual_seed(3))
    if model.upsampling > 1:
        x = 10 * x - 5
    if isinstance(model, Vocoder) and model.uses_f0:
        x[:, -1] = torch.where(x[:, -1] > -5, 350 + 40 * x[:, -1], 0.0)
    return x


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 1000])
def test_whole_streams(exported: tuple[Model, OnnxEngine], length: int) -> None:
    model, engine = exported
    x = sound(model, length if model.upsampling == 1 else length // 8)
    with torch.inference_mode():
        expected = model.process(x).numpy()
    found = engine.process(x.numpy())
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0) <= model.rounding * max(
        np.abs(expected).max(initial=0), 1e-3
    )


def test_batches_and_random_chunks(exported: tuple[Model, OnnxEngine]) -> None:
    model, engine = exported
    x = sound(model, 700 if model.upsampling == 1 else 90, batch=3)
    with torch.inference_mode():
        expected = model.process(x).numpy()
    rng = np.random.default_rng(0)
    state, parts, first = engine.start(), [], 0
    while first < x.shape[-1]:
        size = int(rng.integers(0, 4 * model.hop_length))
        output, state = engine.step(x[..., first : first + size].numpy(), state)
        parts.append(output)
        first += size
    parts.append(engine.step(x[..., :0].numpy(), state, final=True)[0])
    found = np.concatenate(parts, axis=-1)[..., : expected.shape[-1]]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= model.rounding * np.abs(expected).max()


def test_warm_up_and_bandwidth_are_those_of_the_model(exported: tuple[Model, OnnxEngine]) -> None:
    """Warm-ups and bandwidths are those of the model."""
    model, engine = exported
    x = sound(model, 900 if model.upsampling == 1 else 90)
    logged: dict[str, Any] = {}
    found: dict[str, Any] = {}
    with torch.inference_mode():
        if model.warm_up_seconds:
            logged["memory"], found["memory"] = (
                model.warm_up(x[..., :500]),
                engine.warm_up(x[..., :500].numpy()),
            )
        if model.uses_level:
            logged["level"] = level = measure_level(x)
            found["level"] = Level(level.std.numpy(), level.rms.numpy(), level.mean.numpy())
        if model.extends_from_hz is not None:
            logged["bandwidth_hz"] = found["bandwidth_hz"] = 5000.0
        expected = model.process(x, **logged).numpy()
    assert (
        np.abs(engine.process(x.numpy(), **found) - expected).max() <= model.rounding * np.abs(expected).max()
    )


def test_states_are_not_changed_in_place(exported: tuple[Model, OnnxEngine]) -> None:
    model, engine = exported
    chunk = sound(model, 8 * model.hop_length).numpy()
    _, state = engine.step(chunk)
    first, _ = engine.step(chunk, state)
    second, _ = engine.step(chunk, state)
    assert np.array_equal(first, second)


def test_streams_are_saved_restored_and_batched(exported: tuple[Model, OnnxEngine]) -> None:
    """A packed state goes on elsewhere; streams that began at other times share a batch."""
    model, engine = exported
    hop = model.hop_length
    x = sound(model, 24 * hop, batch=2).numpy()
    expected = [engine.process(row[None]) for row in x]
    batch = engine.batch(3)
    outputs: list[list[np.ndarray]] = [[], []]
    batch.insert((2,), engine.start())
    for n in range(24 + 5):
        if n == 5:
            batch.insert((0,), engine.start())
        if n == 12:
            kept = engine.pack(batch.extract((2,)))
            batch.insert((1,), engine.unpack(kept))
        first = 1 if n >= 12 else 2
        members = [((first,), x[:1, :, n * hop : (n + 1) * hop])] if n < 24 else []
        members += [((0,), x[1:, :, (n - 5) * hop : (n - 4) * hop])] if n >= 5 else []
        for (rows, _), output in zip(members, batch.step(members), strict=True):
            outputs[0 if rows == (first,) else 1].append(output)
    for row, (parts, whole) in enumerate(zip(outputs, expected, strict=True)):
        state = batch.extract((1,) if row == 0 else (0,))
        parts.append(engine.step(x[:1, :, :0], state, final=True)[0])
        found = np.concatenate(parts, axis=-1)[..., : whole.shape[-1]]
        assert found.shape == whole.shape
        assert np.abs(found - whole).max() <= model.rounding * np.abs(whole).max()


def test_card_says_what_states_are(exported: tuple[Model, OnnxEngine]) -> None:
    model, engine = exported
    card = json.loads(engine._source.with_suffix(".json").read_text())
    assert card["sample_rate"] == model.sample_rate
    assert card["checkpoint_sha256"] == checkpoint.sha256(engine._source.with_suffix(".safetensors"))
    assert all(state["meaning"] for state in card["states"])
    assert {state["type"] for state in card["states"]} <= {"float32", "float64", "int64"}


def test_nodes_and_free_axes_have_names(exported: tuple[Model, OnnxEngine]) -> None:
    model, engine = exported
    graph = onnx.load(engine._source).graph
    names = [node.name for node in nodes_of(graph)]
    assert "" not in names
    assert len(set(names)) == len(names)
    length = "length" if model.upsampling == 1 else f"{model.upsampling}*length"
    sizes = {
        v.name: [dim.dim_param for dim in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)
    }
    assert sizes.pop("input") == ["batch", "", "length"]
    assert sizes.pop("output") == ["batch", "", length]
    shapes = {
        state.name: [size if size == "batch" else "" for size in state.shape] for state in engine.card.states
    }
    assert sizes == shapes | {f"next_{name}": shape for name, shape in shapes.items()}


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_models_without_a_graph_say_why(name: str, reason: str, tmp_path: Path) -> None:
    model = MODELS.get(name).from_config(MODELS.get(name).small).eval()
    path = save_model(tmp_path / "model.safetensors", model, served_by(model)[0])
    with pytest.raises(ExportError, match=f"{name} cannot be exported: .*{reason}") as error:
        export(path, tmp_path / "model.onnx")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("*.onnx"))


def test_the_page_says_which_models_have_a_graph() -> None:
    """The column "graph" of docs/models.md, and its reasons; every causal model is in EXPORTED or REFUSED."""
    tried = {architecture for architecture, _ in EXPORTED.values()}
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    cells = {row[0].strip("`"): row[7] for row in rows}
    published = {name for name in tried if name != "vocos"}  # causal only in a configuration of its own
    assert {name for name, cell in cells.items() if cell == "yes"} == published
    assert {cells[name] for name in cells.keys() - published} == {"no"}
    reasons = text.partition("## Models without a graph\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\S+)`", reasons)) == cells.keys() - published


def test_attention_over_the_whole_past_has_no_graph(tmp_path: Path) -> None:
    model = MODELS.get("cleanunet").from_config(EXPORTED["attention"][1] | {"attention_window": None}).eval()
    path = save_model(tmp_path / "model.safetensors", model, "denoise")
    with pytest.raises(ExportError, match="cleanunet cannot be exported: attention over the whole past"):
        export(path, tmp_path / "model.onnx")


@pytest.mark.parametrize("size", [2, 6, 32, 98, 512, 1536])
def test_fourier_transforms_in_real_numbers(size: int) -> None:
    x = torch.randn(2, 3, size, dtype=torch.float32)
    spec = torch.fft.rfft(x.double())
    found = rfft(x)
    assert (torch.complex(found.real, found.imaginary) - spec).abs().max() < 1e-5 * spec.abs().max()
    back = irfft(ComplexPair(spec.real.float(), spec.imag.float()))
    assert (back - x).abs().max() < 1e-6 * x.abs().max()


def test_tensors_missing_in_a_checkpoint_are_computed_at_loading(tmp_path: Path) -> None:
    """Matrices of Fourier transforms, and those that are nearly all 0."""
    rng = np.random.default_rng(0)
    sparse = np.zeros((40, 50), np.float32)
    sparse[rng.integers(0, 40, 60), rng.integers(0, 50, 60)] = rng.standard_normal(60)
    values = {name: table.values() for size in (96, 98) for name, table in named(size)} | {"sparse": sparse}
    outputs = [
        helper.make_tensor_value_info(f"{k}.out", TensorProto.FLOAT, v.shape) for k, v in values.items()
    ]
    nodes = [helper.make_node("Identity", [k], [f"{k}.out"]) for k in values]
    made = helper.make_graph(
        nodes, "made", [], outputs, [numpy_helper.from_array(v, k) for k, v in values.items()]
    )
    graph = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])
    graph.ir_version = 8
    before = len(graph.SerializeToString())
    save_file({"unused": torch.zeros(3)}, tmp_path / "model.safetensors")
    share_weights(graph, tmp_path / "model.safetensors")
    assert len(graph.SerializeToString()) < before / 2
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for found, expected in zip(session.run(None, {}), values.values(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-7)


def test_short_names_leave_a_graph_and_its_bodies_as_they_are() -> None:
    graph = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        made (float[2] x, bool positive) => (float[2] y) {
            a_long_name = Add(x, x)
            y = If (positive) <
                then_branch = one () => (float[2] product) { product = Mul(a_long_name, x) },
                else_branch = other () => (float[2] negative) { negative = Neg(a_long_name) }
            >
        }""")
    graph.graph.node[0].name = "node"
    shorten_names(graph.graph)
    assert b"a_long_name" not in graph.SerializeToString()
    assert sorted(node.name for node in nodes_of(graph.graph)) == ["0", "1", "2", "3"]
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.array([1.0, 3.0], np.float32)
    for positive, expected in ((True, [2, 18]), (False, [-2, -6])):
        np.testing.assert_array_equal(
            session.run(["y"], {"x": x, "positive": np.array(positive)})[0], expected
        )


def named(size: int) -> list[tuple[str, Table]]:
    return [(f"{name}_{size}", table) for name, table in tables(size).items()]


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_a_gru_of_a_single_step_is_the_gru(rows: int, steps: int) -> None:
    rng = np.random.default_rng(0)
    width, size = 5, 6
    shapes = {"w": (1, 3 * size, width), "r": (1, 3 * size, size), "b": (1, 6 * size)}
    weights = [
        numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), k) for k, s in shapes.items()
    ]
    gru = helper.make_node(
        "GRU", ["x", "w", "r", "b", "", "h"], ["y", "last"], hidden_size=size, linear_before_reset=1
    )
    made = helper.make_graph(
        [gru],
        "gru",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["steps", "rows", width]),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, "rows", size]),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "last")],
        weights,
    )
    graph = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])
    graph.ir_version = 8
    fed = {
        "x": rng.standard_normal((steps, rows, width)).astype(np.float32),
        "h": rng.standard_normal((1, rows, size)).astype(np.float32),
    }
    run = [onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])]
    split_single_steps(graph)
    assert any(node.op_type == "If" for node in graph.graph.node)
    run.append(onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"]))
    for expected, found in zip(*(session.run(None, fed) for session in run), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-6)
