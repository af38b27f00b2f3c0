"""GTCRN equals the official network, whole and in a stream."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from kit.onnx_files import rename_tensor
from kit.parity import relative_error
from kit.released import ROOT, error, load, needs_released
from kit.streams import graph_stream
from safetensors.torch import load_file
from torch import Tensor

from audiotool.dsp.erb import erb_filterbank
from audiotool.errors import CheckpointError, ExportError
from audiotool.importers.base import import_checkpoint
from audiotool.importers.gtcrn import FOLDED, MATRICES, RECURRENT, SLOPES, _turn
from audiotool.importers.onnx_file import GRU_ORDER, reorder_gates
from audiotool.models.base import Model
from audiotool.models.gtcrn import GTCRN

PACK = Path(__file__).parents[1] / "data" / "parity" / "gtcrn"


@pytest.fixture(scope="module")
def model() -> Model:
    return import_checkpoint(PACK / "model_trained_on_dns3.tar", "gtcrn")[0]


@pytest.fixture(scope="module")
def pack() -> dict[str, Tensor]:
    return load_file(PACK / "io.safetensors")


def test_forward_equals_the_official_spec(model: Model, pack: dict[str, Tensor]) -> None:
    with torch.no_grad():
        assert relative_error(model(pack["spec"]), pack["enhanced_spec"]) < 1e-4


def test_process_equals_the_official_waveform(model: Model, pack: dict[str, Tensor]) -> None:
    with torch.no_grad():
        enhanced = model.process(pack["noisy"][:, None])[:, 0]
    assert relative_error(enhanced, pack["enhanced"]) < 1e-4


@pytest.mark.parametrize("length", [1, 100, 256, 257, 600, 1024, 3001])
def test_the_step_of_the_graph_is_the_stream(
    model: Model, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames at the edges are completed by reflection there, too; several streams, whole hops."""
    x = 0.1 * torch.randn(2, 1, length, generator=torch.Generator().manual_seed(length))
    with torch.inference_mode():
        whole = model.process(x)
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        found = graph_stream(model, x, [1, 3])
    assert torch.allclose(found, whole, atol=1e-5 * float(whole.abs().max()))


def test_frames_of_other_overlap_have_no_graph() -> None:
    with pytest.raises(ExportError, match="hop_length must be n_fft / 2"):
        GTCRN.from_config({"hop_length": 128}).graph_start(1)


def test_published_parameter_count(model: Model) -> None:
    assert model.parameter_count == 23_669


def test_filterbank_is_the_official_one(model: Model) -> None:
    torch.testing.assert_close(erb_filterbank(65, 64, 512, 16000), model.erb_filters, atol=1e-6, rtol=0)


def test_weights_of_another_model_are_refused_with_their_keys(tmp_path: Path) -> None:
    torch.save({"model": {"encoder.0.0.weight": torch.zeros(1)}}, tmp_path / "other.tar")
    with pytest.raises(CheckpointError, match=r"missing.*unexpected"):
        import_checkpoint(tmp_path / "other.tar", "gtcrn")


def test_another_matrix_back_to_bins_is_refused(tmp_path: Path) -> None:
    official = torch.load(PACK / "model_trained_on_dns3.tar", weights_only=True)
    official["model"]["erb.ierb_fc.weight"] = 2 * official["model"]["erb.ierb_fc.weight"]
    torch.save(official, tmp_path / "other.tar")
    with pytest.raises(CheckpointError, match=r"erb\.ierb_fc\.weight is not the transpose"):
        import_checkpoint(tmp_path / "other.tar", "gtcrn")


def test_files_are_known_by_their_contents(tmp_path: Path, model: Model) -> None:
    (tmp_path / "a.onnx").write_bytes((PACK / "model_trained_on_dns3.tar").read_bytes())
    streaming_graph(tmp_path / "a.tar", model)
    for name in ("a.onnx", "a.tar"):
        found, _ = import_checkpoint(tmp_path / name, "gtcrn")
        assert torch.equal(found.erb_filters, model.erb_filters)  # type: ignore[arg-type]


def streaming_graph(path: Path, model: Model) -> Path:
    """The official streaming graph's operations and weights, of a model whose encoder has neutral norms."""
    onnx = pytest.importorskip("onnx")
    official: dict[str, Tensor] = {}
    for key, value in model.state_dict().items():
        name = re.sub(r"^encoder\.", "encoder.en_convs.", re.sub(r"^decoder\.", "decoder.de_convs.", key))
        name = re.sub(r"^recurrences\.(\d)", lambda m: f"dpgrnn{int(m[1]) + 1}", name)
        # Turning is its own inverse.
        official[name] = _turn(name, value) if value.dim() == 4 else value
    official["erb.erb_fc.weight"] = official.pop("erb_filters")
    official["erb.ierb_fc.weight"] = official["erb.erb_fc.weight"].T
    nodes: list[Any] = []
    stored: dict[str, Any] = {}

    def add(kind: str, *weights: Tensor) -> None:
        names = [f"onnx::{kind}_{len(stored) + n}" for n in range(len(weights))]
        stored.update(zip(names, weights, strict=True))
        nodes.append(onnx.helper.make_node(kind, ["x", *names], [f"y{len(nodes)}"]))

    for conv, norm in FOLDED:
        add("Conv", official.pop(f"{conv}.weight"), official.pop(f"{conv}.bias"))
        for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            official.pop(f"{norm}.{key}")
    for name in SLOPES:
        add("PRelu", official.pop(f"{name}.weight").reshape(1, 1, 1))
    for name in RECURRENT:
        back = tuple(GRU_ORDER.index(n) for n in range(3))
        stacked = []
        for suffix in ("", "_reverse"):
            keys = [f"{name}.{k}_l0{suffix}" for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            if keys[0] in official:
                parts = [reorder_gates(official.pop(key), back) for key in keys]
                stacked.append((parts[0], parts[1], torch.cat(parts[2:])))
        add("GRU", *(torch.stack(group) for group in zip(*stacked, strict=True)))
    for name in MATRICES:
        add("MatMul", official.pop(f"{name}.weight").T)
    named = {k.replace(".depth_conv.", ".depth_conv.ConvTranspose2d."): v for k, v in official.items()}
    stored |= {key: value for key, value in named.items() if not key.endswith("num_batches_tracked")}
    tensors = [onnx.numpy_helper.from_array(v.detach().contiguous().numpy(), k) for k, v in stored.items()]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "graph", [], [], tensors)), str(path))
    return path


def test_weights_of_the_streaming_graph(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = GTCRN.from_config({}).eval()
    for _, norm in FOLDED:
        place = re.sub(r"^encoder\.en_convs\.", "encoder.", norm)
        source.get_submodule(place).running_var.fill_(1 - 1e-5)  # type: ignore[operator]
    path = streaming_graph(tmp_path / "gtcrn_simple.onnx", source)
    model, _ = import_checkpoint(path, "gtcrn")
    x = 0.1 * torch.randn(1, 1, 4000)
    with torch.inference_mode():
        found, expected = model.process(x), source.process(x)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_another_graph_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = streaming_graph(tmp_path / "gtcrn.onnx", GTCRN.from_config({}).eval())
    changed = onnx.load(str(path))
    del changed.graph.node[0]
    onnx.save(changed, str(path))
    with pytest.raises(CheckpointError, match="10 convolutions, 11 are expected: it is of another version"):
        import_checkpoint(path, "gtcrn")


@pytest.mark.parametrize("place", ["Conv", "PRelu", "GRU", "MatMul"])
def test_a_tensor_of_another_name_is_named(tmp_path: Path, place: str) -> None:
    onnx = pytest.importorskip("onnx")
    path = streaming_graph(tmp_path / "gtcrn.onnx", GTCRN.from_config({}).eval())
    nodes = onnx.load(str(path)).graph.node
    used = next(node for node in nodes if node.op_type == place).input[1]
    rename_tensor(path, used)
    with pytest.raises(CheckpointError, match=f"has no tensor '{used}', which its graph uses"):
        import_checkpoint(path, "gtcrn")


@needs_released
@pytest.mark.parametrize("weights", ["dns3", "vctk"])
def test_official_outputs_of_released_weights(weights: str) -> None:
    model, _ = import_checkpoint(ROOT / "gtcrn" / f"model_trained_on_{weights}.tar", "gtcrn")
    inputs, outputs = load("inputs_16k.npz"), load("gtcrn/io.npz")
    for name in ("s0", "s5"):
        with torch.inference_mode():
            y = model.process(inputs[f"x.{name}"][None, None])[0, 0]
        assert error(y, outputs[f"y.{weights}.{name}"]) <= 1e-5


@needs_released
def test_official_frames_of_the_released_graph() -> None:
    runtime = pytest.importorskip("onnxruntime")
    path = ROOT / "gtcrn" / "gtcrn_simple.onnx"
    model, _ = import_checkpoint(path, "gtcrn")
    window = torch.hann_window(512).sqrt()
    wave = load("inputs_16k.npz")["x.s0"][:8000]
    spec = torch.view_as_real(torch.stft(wave, 512, 256, window=window, return_complex=True))[None]
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    states = {i.name: torch.zeros(i.shape).numpy() for i in session.get_inputs()[1:]}
    frames = []
    for frame in spec.split(1, dim=2):
        out, *rest = session.run(None, {"mix": frame.numpy(), **states})
        states = dict(zip(states, rest, strict=True))
        frames.append(torch.from_numpy(out))
    with torch.inference_mode():
        assert error(model(spec).flatten(), torch.cat(frames, dim=2).flatten()) <= 1e-5
