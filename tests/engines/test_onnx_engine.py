"""A graph is data from outside: its errors are reported in one line before it runs."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from kit.audio import speech_like
from kit.patience import PATIENCE
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

import audiotool
from audiotool.checkpoint import files_of
from audiotool.documents import MAX_BYTES
from audiotool.engines.card import OPSET, Card, StateCard
from audiotool.engines.graph_file import read_contents
from audiotool.engines.onnx import OnnxEngine, _make_session
from audiotool.errors import AudiotoolError, CheckpointError, DependencyError
from audiotool.named_checkpoints import bundled_root, resolve

HOP = 4


def test_a_graph_with_one_bandwidth_takes_the_widest_channels() -> None:
    """Graphs made before each row had its own."""
    engine = audiotool.load("super-resolve", engine="onnx").engine
    assert isinstance(engine, OnnxEngine)
    first, *others = engine.card.states
    assert (first.name, first.shape) == ("bandwidth_hz", ("batch", 1, 1))
    bandwidths = {"bandwidth_hz": np.array([[[4000.0]], [[8000.0]]], np.float32)}
    np.testing.assert_array_equal(engine._begin(2, bandwidths)[0].ravel(), [4000, 8000])
    engine.card = engine.card._replace(states=(first._replace(shape=(1, 1, 1)), *others))
    np.testing.assert_array_equal(engine._begin(2, bandwidths)[0].ravel(), [8000])


def graph() -> onnx.ModelProto:
    """A model that answers with the input of a hop before: output = what it held, then the rest."""
    nodes = [
        helper.make_node("Concat", ["held", "input"], ["joined"], axis=2),
        helper.make_node("Slice", ["joined", "zero", "end", "axis"], ["output"]),
        helper.make_node("Slice", ["joined", "end", "last", "axis"], ["next_held"]),
    ]
    inits = {"zero": [0], "end": [-HOP], "axis": [2], "last": [1 << 40]}
    values = [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in inits.items()]
    audio = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, "items"])]
    held = [helper.make_tensor_value_info("held", TensorProto.FLOAT, ["batch", 1, HOP])]
    outputs = [
        helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 1, "items"]),
        helper.make_tensor_value_info("next_held", TensorProto.FLOAT, ["batch", 1, HOP]),
    ]
    made = helper.make_graph(nodes, "late", audio + held, outputs, values)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    return model


def write(folder: Path, model: onnx.ModelProto | bytes, **changes: Any) -> Path:
    """A graph, its card and a checkpoint."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    checkpoint = folder / "late.safetensors"
    checkpoint.write_bytes(b"weights")
    states = (StateCard("held", ("batch", 1, HOP), "float32", "the last hop"),)
    card = Card("late", "denoise", 8000, HOP, HOP, HOP, states)
    card = card._replace(
        graph_sha256=hashlib.sha256(data).hexdigest(),
        checkpoint_sha256=hashlib.sha256(b"weights").hexdigest(),
    )
    path = folder / "late.onnx"
    path.write_bytes(data)
    path.with_suffix(".json").write_text(card._replace(**changes).to_json())
    return path


def test_streams_of_any_chunks_are_aligned(tmp_path: Path) -> None:
    engine = OnnxEngine.open(write(tmp_path, graph()), tmp_path / "late.safetensors")
    x = np.arange(1, 30, dtype=np.float32).reshape(1, 1, -1)
    for sizes in ([1] * 29, [3, 5, 0, 21], [29]):
        state, parts, first = engine.start(), [], 0
        for size in sizes:
            output, state = engine.step(x[..., first : first + size], state)
            parts.append(output)
            first += size
        parts.append(engine.step(x[..., :0], state, final=True)[0])
        assert np.array_equal(np.concatenate(parts, axis=-1)[..., :29], x)
    assert engine.step(x[..., :0], final=True)[0].shape == (1, 1, 0)


def test_given_values_replace_the_start(tmp_path: Path) -> None:
    engine = OnnxEngine.open(write(tmp_path, graph(), delay=0, latency=0))
    held = np.full((1, 1, HOP), 7, np.float32)
    output, _ = engine.step(np.zeros((2, 1, HOP), np.float32), engine.start(held=held))
    assert output.shape == (2, 1, HOP)
    assert (output == 7).all()


def test_an_engine_knows_how_many_values_were_trained(tmp_path: Path) -> None:
    assert OnnxEngine.open(write(tmp_path, graph(), parameters=189440)).parameters == 189440


def test_the_checkpoint_is_hashed_once(tmp_path: Path) -> None:
    graph_path, path = write(tmp_path, graph()), tmp_path / "late.safetensors"
    engine = OnnxEngine.open(graph_path, path)
    assert engine.checkpoint_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert OnnxEngine.open(graph_path).checkpoint_sha256 == "", "the card's word alone is no check"


def test_a_second_is_one_run_whatever_the_hop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiotool.engines.onnx.PIECE_SECONDS", 2.25 * HOP / 8000)
    engine, runs = OnnxEngine.open(write(tmp_path, graph()), tmp_path / "late.safetensors"), []
    session = engine._session()

    class Counting:
        def run(self, outputs: list[str], feed: dict[str, Any]) -> Any:
            runs.append(feed["input"].shape[-1])
            return session.run(outputs, feed)

    monkeypatch.setattr(engine, "_session", Counting)
    engine.step(np.zeros((1, 1, 7 * HOP), np.float32))
    assert runs == [3 * HOP, 3 * HOP, HOP]


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def external_inside(model: onnx.ModelProto) -> None:
    inner = graph()
    external(inner)
    model.graph.node.append(helper.make_node("If", ["input"], ["x"], then_branch=inner.graph))


def custom(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def microsoft(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft"


def older(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = OPSET - 5


def newer(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def function(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function("d", "f", [], [], [], [helper.make_opsetid("", OPSET)]))


def unknown(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "NoSuchOperator"


def sparse(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["s"], sparse_value=sparse_tensor()))


def sparse_list(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["s"])
    node.attribute.append(helper.make_attribute("values", [sparse_tensor()]))
    model.graph.node.append(node)


def sparse_inside(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.append(sparse_tensor())


def sparse_tensor() -> onnx.SparseTensorProto:
    """A sparse tensor whose values are in another file."""
    values = helper.make_tensor("values", onnx.TensorProto.FLOAT, [1], [1.0])
    values.ClearField("float_data")
    values.data_location = onnx.TensorProto.EXTERNAL
    values.external_data.add(key="location", value="secret.bin")
    indices = helper.make_tensor("indices", onnx.TensorProto.INT64, [1], [0])
    return helper.make_sparse_tensor(values, indices, [4])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external, "values in other files"),
        (external_inside, "values in other files"),
        (custom, "operator 'com.example.Concat'"),
        (microsoft, "operator 'com.microsoft.Concat'"),
        (function, "a function"),
        (sparse, "a sparse tensor"),
        (sparse_list, "a sparse tensor"),
        (sparse_inside, "a sparse tensor"),
        (older, f"opset {OPSET - 5}, this audiotool runs {OPSET}"),
        (newer, "opset 99"),
        (unknown, "onnxruntime refuses"),
    ],
)
def test_graphs_that_are_refused(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    model = graph()
    change(model)
    refused(lambda: OnnxEngine.open(write(tmp_path, model)), message)


@pytest.mark.parametrize("cut", [0, 1, 50, -30, -1])
def test_damaged_graphs(tmp_path: Path, cut: int) -> None:
    refused(lambda: OnnxEngine.open(write(tmp_path, graph().SerializeToString()[:cut])), "late.onnx")


def test_noise_is_no_graph(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = graph().SerializeToString()
    refusals = 0
    for _ in range(100):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 8):
            data[place] = int(rng.integers(0, 256))
        try:
            OnnxEngine.open(write(tmp_path, bytes(data)))
        except AudiotoolError:
            refusals += 1
    assert refusals > 50, "most damage is found; what only renames a node or changes a weight is not"


def test_a_changed_graph_or_checkpoint(tmp_path: Path) -> None:
    path = write(tmp_path, graph())
    other = graph()
    other.graph.name = "other"
    path.write_bytes(other.SerializeToString())
    refused(lambda: OnnxEngine.open(path), "not the graph its card describes")
    path = write(tmp_path, graph())
    (tmp_path / "late.safetensors").write_bytes(b"other weights")
    refused(lambda: OnnxEngine.open(path, tmp_path / "late.safetensors"), "not made from")
    refused(lambda: OnnxEngine.open(path, tmp_path / "late.safetensors"), f"-o {path} --overwrite`")


def _answer(engine: OnnxEngine, x: np.ndarray, folder: Path, answers: Any) -> None:
    os.chdir(folder)
    try:
        answers.put(engine.process(x))
    except CheckpointError as error:
        answers.put(str(error))


def _replace(path: Path) -> None:
    """By another file, as an export does: weights may be mapped into memory."""
    path.unlink()
    path.write_bytes(b"other weights")


@pytest.mark.filterwarnings("ignore:This process")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (None, ""),
        (_replace, "has changed since this pipeline was loaded"),
        (Path.unlink, "cannot be read (No such file or directory), and a forked process opens it again"),
    ],
)
def test_a_forked_process_runs_what_was_opened_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None] | None, message: str
) -> None:
    """Also from another folder, and a graph whose weights are in its checkpoint."""
    name = "denoise-tiny-16k"
    for file in files_of(resolve(name)):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    engine = OnnxEngine.open(f"{name}.onnx", f"{name}.safetensors")
    x = speech_like(0.2, 16000)[None]
    expected = engine.process(x)
    checkpoint = tmp_path / f"{name}.safetensors"
    if spoil is not None:
        spoil(checkpoint)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_answer, args=(engine, x, tmp_path.parent, answers))
    child.start()
    try:
        child.join(PATIENCE)
        assert child.exitcode == 0
        found = answers.get()
    finally:
        child.kill()
    if spoil is None:
        np.testing.assert_array_equal(found, expected)
    else:
        assert f"{checkpoint} {message}" in found
    np.testing.assert_array_equal(engine.process(x), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no card"),
        ("", "damaged"),
        ("[1]", "damaged"),
        ('{"format": 99}', "format 99"),
        ('{"format": 1}', "damaged"),
        ('{"format": 1, "states": 3}', "damaged"),
        ("[" * 200_000, "nested too deeply"),
        ('{"format": 1, "name": "' + "x" * MAX_BYTES + '"}', "at most 16000000 are read"),
        ('{"format": ' + "9" * 4000 + "}", "has format an integer of 13288 bits,"),
    ],
)
def test_cards_that_are_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = write(tmp_path, graph())
    if text is None:
        path.with_suffix(".json").unlink()
    else:
        path.with_suffix(".json").write_text(text)
    refused(lambda: OnnxEngine.open(path), message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"states": (StateCard("held", ("batch", 4097, 4097), "float32", ""),)},
            "states have 16785409 values",
        ),
        ({"states": (StateCard("held", ("batch", 1 << 40, 1 << 40), "float32", ""),)}, "damaged"),
        ({"states": (StateCard("held", ("batch",), "float64", "", 10**400),)}, "damaged"),
        ({"sample_rate": 10**400}, "sample_rate: found 1000"),
        ({"sample_rate": 1 << 31}, "sample_rate: found 2147483648"),
        ({"hop_length": 1 << 31}, "hop_length: found 2147483648"),
        ({"delay": 1 << 31}, "delay: found 2147483648"),
        ({"delay": -1}, "delay: found -1"),
        ({"upsampling": True}, "upsampling: found True"),
        ({"channels": 0}, "channels: found 0"),
        ({"stems": ()}, "stems: found"),
        ({"stems": ("../../speech",)}, "stems.0: found '../"),
        ({"stems": (3,)}, "stems.0: found 3"),
        ({"drain_value": "x"}, "drain_value: found 'x'"),
        ({"drain_value": math.nan}, "drain_value: found nan"),
        ({"warm_up_seconds": 1e9}, "warm_up_seconds: found 1000000000"),
        ({"warmed_up": ([1],)}, "warmed_up.0: found [1]"),
        ({"warmed_up": ("held", "other")}, "there is no state 'other'"),
        ({"macs_per_second": -1}, "macs_per_second: found -1"),
        ({"mel": 3}, "mel: found 3"),
        ({"mel": {"preset": "hifigan-22k", "n_mels": 0}}, "card of a graph, or damaged (mel.n_mels: found 0"),
        ({"name": 3}, "name: found 3"),
        ({"states": (StateCard("held", (-4,), "float32", ""),)}, "shape.0: found -4"),
        ({"states": (StateCard("held", ("time",), "float32", ""),)}, "shape.0: found 'time'"),
        ({"states": (StateCard("held", ("batch",), "object", ""),)}, "type: found 'object'"),
    ],
)
def test_a_card_of_values_that_no_graph_has(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path, graph(), **changes)
    refused(lambda: OnnxEngine.open(path), message)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"beginning": np.arange(HOP, dtype=np.float16)}, None),
        ({"other": np.zeros(HOP, np.float16)}, "late.safetensors has not the start of state held"),
        ({"beginning": np.zeros(HOP + 1, np.float16)}, "damaged"),
        (None, "late.safetensors has not the start of state held"),
    ],
)
def test_a_start_that_is_a_tensor_of_the_checkpoint(
    tmp_path: Path, tensors: dict[str, Any] | None, message: str | None
) -> None:
    states = (StateCard("held", ("batch", 1, HOP), "float32", "the last hop", "beginning"),)
    path = write(tmp_path, graph(), states=states)
    if tensors is not None:
        save_file(tensors, tmp_path / "late.safetensors")
    if message is None:
        (held,) = OnnxEngine.open(path).card.states
        np.testing.assert_array_equal(held.values(), np.arange(HOP, dtype=np.float32).reshape(1, 1, HOP))
    else:
        refused(lambda: OnnxEngine.open(path), message)


def test_bundled_cards_have_no_copies_of_learned_starts() -> None:
    card = json.loads((bundled_root("checkpoints") / "denoise-16k.json").read_text())
    starts = [state["start"] for state in card["states"]]
    assert any(isinstance(start, str) for start in starts)
    assert not any(isinstance(start, list) for start in starts)


def test_a_card_of_other_inputs(tmp_path: Path) -> None:
    states = (StateCard("other", ("batch", 1, HOP), "float32", "nothing"),)
    refused(lambda: OnnxEngine.open(write(tmp_path, graph(), states=states)), "not those of its card")


def test_an_old_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.8.1")
    with pytest.raises(DependencyError, match=r"onnxruntime 1\.8\.1 is too old.*pip install"):
        OnnxEngine.open(write(tmp_path, graph()))


def test_contents_are_read_without_the_package_onnx() -> None:
    found = read_contents(graph().SerializeToString())
    assert (found.opset, found.nodes, found.custom, found.external) == (OPSET, 3, [], set())


def refused(action: Callable[[], object], message: str) -> None:
    with pytest.raises(CheckpointError) as error:
        action()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_errors_of_onnxruntime_have_no_call_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    said = (
        "[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: /src/frame.cc:74 Info::Info()"
        " [ONNXRuntimeError] : 1 : FAIL : weights out of bounds"
    )

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
    with pytest.raises(
        CheckpointError, match=r"^a\.onnx: onnxruntime refuses this graph \(weights out of bounds\)"
    ):
        _make_session(b"", Path("a.onnx"), 1)


def test_a_warm_up_on_noise_is_as_good_as_none() -> None:
    """Of two rows one keeps the state of its warm-up, the other begins as a live stream."""
    engine = audiotool.load("denoise-tiny-16k", engine="onnx").engine
    speech = speech_like(1.0, engine.sample_rate)
    noise = 0.05 * np.random.default_rng(0).standard_normal(speech.shape).astype(np.float32)
    beginnings = np.stack([speech, noise])
    plain = engine.process(beginnings)
    warmed_up = engine.process(beginnings, memory=engine.warm_up(beginnings))
    np.testing.assert_allclose(warmed_up[1], plain[1], atol=1e-6)
    assert np.abs(warmed_up[0] - plain[0]).max() > 1e-3


def test_a_state_that_is_not_finite_is_forgotten_without_a_warning(tmp_path: Path) -> None:
    """What an input far beyond full scale leaves; the writer says so."""
    engine = OnnxEngine.open(write(tmp_path, graph(), warmed_up=("held",)))
    _, state = engine.step(np.full((2, 1, 2 * HOP), np.inf, np.float32), engine.start())
    rows = np.array([True, False])
    kept, _ = engine.step(np.ones((2, 1, HOP), np.float32), engine.forget(state, rows))
    assert np.isinf(kept[1]).all()
