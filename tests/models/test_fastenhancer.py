"""FastEnhancer: released weights give the official outputs; official files of any size are read; levels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from kit.learning import l1, learn
from kit.onnx_files import rename_tensor
from kit.released import ROOT, error, load, needs_released
from kit.streams import stream
from torch import Tensor

from audiotool.errors import CheckpointError, DependencyError
from audiotool.importers.base import import_checkpoint, recognise
from audiotool.importers.fastenhancer import BLOCK_MATRICES, RENAMED
from audiotool.importers.onnx_file import read_onnx
from audiotool.models.fastenhancer import SIZES, FastEnhancer, reduction

onnx = pytest.importorskip("onnx")

TINY = {**FastEnhancer.small, "n_fft": 64, "hop_length": 16, "batch_norm": False}
OFFICIAL_CONFIG = {
    "model_kwargs": {
        "channels": 8,
        "kernel_size": [8, 3],
        "stride": 4,
        "n_fft": 64,
        "hop_size": 16,
        "mask": None,
        "rnnformer_kwargs": {"num_blocks": 2, "channels": 8, "freq": 6, "num_heads": 2},
    },
    "data": {"sampling_rate": 48000},
}


@needs_released
@pytest.mark.parametrize("size", ["t", "b", "s", "m"])
def test_official_outputs_of_released_weights(size: str) -> None:
    folder = f"fastenhancer_{size}"
    model, metadata = import_checkpoint(ROOT / folder / f"{folder}.onnx", "fastenhancer")
    inputs, outputs = load("inputs_16k.npz"), load(f"{folder}/io.npz")
    assert metadata.licence == "MIT"
    for name in ("s0", "s5", "s10"):
        with torch.inference_mode():
            y = model.process(inputs[f"x.{name}"][None, None])[0, 0]
        assert y.shape == outputs[f"y.{name}"].shape
        assert error(y, outputs[f"y.{name}"]) <= 3e-5


@pytest.mark.parametrize(
    ("size", "count"), [("T", 21_774), ("B", 91_430), ("S", 194_418), ("M", 491_594), ("L", 1_104_610)]
)
def test_parameters_of_the_published_sizes(size: str, count: int) -> None:
    with torch.device("meta"):
        assert FastEnhancer.from_config({**SIZES[size], "batch_norm": False}).parameter_count == count


def test_the_largest_size(tmp_path: Path) -> None:
    """Its published hop of 100 samples does not divide its frames of 512."""
    torch.manual_seed(0)
    source = FastEnhancer.from_config({**SIZES["L"], "batch_norm": False}).eval()
    model, _ = import_checkpoint(
        official_file(tmp_path / "fastenhancer_l.onnx", source),  # type: ignore[arg-type]
        "fastenhancer",
    )
    assert model.config == source.config
    x = 0.1 * torch.randn(1, 1, 2051)
    with torch.inference_mode():
        whole = model.process(x)
        assert torch.equal(whole, source.process(x))
    streamed = stream(model).process(x, 100)
    assert streamed.shape == whole.shape
    np.testing.assert_allclose(streamed, whole.numpy(), atol=1e-5 * float(whole.abs().max()))


def tiny(**values: Any) -> FastEnhancer:
    torch.manual_seed(0)
    return FastEnhancer.from_config({**TINY, **values}).eval()  # type: ignore[return-value]


def official_file(path: Path, model: FastEnhancer, buffered: bool = False, drop: str = "") -> Path:
    """A file with the official names, in the official order of operations."""
    c = model.config
    tensors: dict[str, Tensor] = dict(model.state_dict())
    back = {}
    for key, value in tensors.items():
        official = key
        for pattern, replacement in reversed(RENAMED):
            reverse = re.sub(r"\\(\d)", r"(\\w+)", replacement.replace(".", r"\."))
            template = re.sub(r"\([^)]*\)", r"\\1", pattern.strip("^")).replace(r"\.", ".")
            if re.match(reverse, official):
                official = re.sub(f"^{reverse}", template, official)
                break
        back[official] = value
    first = back["enc_pre.0.weight"].unflatten(2, (-1, c.stride)).permute(0, 3, 1, 2).flatten(1, 2)
    back["enc_pre.0.weight"] = first
    matrices = ["down"]
    matrices += [f"rf_block.{n}.{name}" for n in range(c.blocks) for name in BLOCK_MATRICES] + ["up"]
    nodes, weights = [], {}
    for n, name in enumerate(matrices):
        if name != drop:
            weights[f"val_{n}"] = back.pop(name).T.contiguous()
            nodes.append(onnx.helper.make_node("MatMul", [f"x{n}", f"val_{n}"], [f"y{n}"]))
    weights |= {f"model.{name}": value for name, value in back.items()}
    shape = onnx.numpy_helper.from_array(np.array([1, c.block_bins, c.heads, -1]), "heads")
    nodes.append(onnx.helper.make_node("Reshape", ["qkv", "heads"], ["packed"]))
    mask = ["x", "model.dec_post.2.weight", "model.dec_post.2.bias"]
    nodes.append(onnx.helper.make_node("ConvTranspose", mask, ["mask"], strides=[c.stride]))
    sizes = {"wav_in": c.hop_length if buffered else c.n_fft, "cache_in_0": c.n_fft - c.hop_length}
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, size])
        for name, size in sizes.items()
    ]
    stored = [onnx.numpy_helper.from_array(v.detach().numpy(), k) for k, v in weights.items()]
    graph = onnx.helper.make_graph(nodes, "main_graph", inputs, [], [*stored, shape])
    onnx.save(onnx.helper.make_model(graph), str(path))
    return path


@pytest.mark.parametrize("buffered", [False, True])
def test_official_layout(tmp_path: Path, buffered: bool) -> None:
    source = tiny()
    path = official_file(tmp_path / "fastenhancer.onnx", source, buffered)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(OFFICIAL_CONFIG))
    model, _ = import_checkpoint(path, "fastenhancer", tmp_path / "config.yaml")
    assert model.sample_rate == 48000
    assert model.config.batch_norm is False
    x = 0.1 * torch.randn(1, 1, 500)
    with torch.inference_mode():
        assert torch.equal(model.process(x), source.process(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop_size": 32}, "hop_length is 32, but the file has 16"),
        ({"win_size": 32}, "win_length is 32, but the file has 64"),
        ({"kernel_size": [8, 5]}, r"kernel_sizes is \[8, 5\], but the file has"),
        ({"rnnformer_kwargs": {"num_heads": 4}}, "heads is 4, but the file has 2"),
        ({"rnnformer_kwargs": {"pre_norm": True}}, "pre_norm=True is not supported"),
        ({"mask": "sigmoid"}, "mask='sigmoid' is not supported"),
        ({"dilation": 2}, "unknown official options: dilation"),
    ],
)
def test_configurations_of_other_networks_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = official_file(tmp_path / "fastenhancer.onnx", tiny())
    values = {**OFFICIAL_CONFIG, "model_kwargs": {**OFFICIAL_CONFIG["model_kwargs"], **change}}  # type: ignore[dict-item]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(path, "fastenhancer", tmp_path / "config.yaml")


def test_the_rate_of_other_frames_is_asked_for(tmp_path: Path) -> None:
    path = official_file(tmp_path / "fastenhancer.onnx", tiny())
    with pytest.raises(CheckpointError, match=r"frames of 64 samples .* --config config\.yaml"):
        import_checkpoint(path, "fastenhancer")


def test_a_matrix_that_is_missing_is_named(tmp_path: Path) -> None:
    path = official_file(tmp_path / "fastenhancer.onnx", tiny(), drop="rf_block.1.attn_fc.weight")
    with pytest.raises(CheckpointError, match="11 matrices, 12 are expected for 2 blocks: it is of another"):
        import_checkpoint(path, "fastenhancer")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("val_3", "has no tensor 'val_3', which its graph uses"),
        ("model.enc_pre.0.weight", "has no 'enc_pre.0.weight'"),
        ("model.rf_post.1.bias", r"1 missing \(rf_post\.0\.bias\)"),
    ],
)
def test_a_tensor_of_another_name_is_named(tmp_path: Path, name: str, message: str) -> None:
    path = official_file(tmp_path / "fastenhancer.onnx", tiny())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(OFFICIAL_CONFIG))
    rename_tensor(path, name)
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(path, "fastenhancer", tmp_path / "config.yaml")


def test_files_are_recognised(tmp_path: Path) -> None:
    path = official_file(tmp_path / "a.onnx", tiny())
    assert recognise({"weights": read_onnx(path).tensors})[0] == "fastenhancer"


@pytest.mark.parametrize("content", [b"", b"onnx" * 40, b"\x08\x07\x12\x00"])
def test_invalid_onnx_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(CheckpointError, match="is not an ONNX file, or it is damaged"):
        read_onnx(tmp_path / "a.onnx")


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    path = official_file(tmp_path / "a.onnx", tiny())
    model = onnx.load(str(path))
    onnx.save(model, str(tmp_path / "b.onnx"), save_as_external_data=True, size_threshold=0)
    with pytest.raises(CheckpointError, match="is in another file"):
        read_onnx(tmp_path / "b.onnx")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(DependencyError, match=r"audiotool-speech\[onnx\]"):
        read_onnx(tmp_path / "a.onnx")


def test_triangles_cover_the_bins() -> None:
    weights = reduction(16, 6)
    assert torch.allclose(weights.sum(1), torch.ones(6))
    assert (weights > 0).any(0).all()
    assert torch.equal(weights.argmax(1), torch.tensor([0, 3, 6, 9, 12, 15]))


def test_the_running_level_makes_the_answer_that_of_any_level() -> None:
    model, x = tiny(level_seconds=1.0), 0.1 * torch.randn(1, 1, 2000)
    with torch.inference_mode():
        loud, soft = model.process(x), model.process(x / 10)
    assert (loud / 10 - soft).abs().max() <= 0.02 * soft.abs().max()
    plain = tiny()
    with torch.inference_mode():
        assert (plain.process(x) / 10 - plain.process(x / 10)).abs().max() > 1e-4 * plain.process(
            x
        ).abs().max()


def test_training_helps() -> None:
    torch.manual_seed(0)
    model = FastEnhancer.from_config({**TINY, "batch_norm": True, "level_seconds": 1.0}).train()
    target = torch.sin(torch.arange(1600) / 6)[None, None] * 0.3
    batch = {"input": target + 0.3 * torch.randn(2, 1, 1600), "target": target.expand(2, -1, -1)}
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    losses = learn(model, batch, l1, optimiser, 15)
    assert losses[-1] < 0.8 * losses[0]
    silent = model.training_outputs({"input": torch.zeros(1, 1, 400)})["estimate"]
    silent.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
