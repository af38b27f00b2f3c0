"""DeepFilterNet3: released weights give the official outputs; archives in the official layout are read."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from kit.released import ROOT, error, load, needs_released
from torch import Tensor

from audiotool.dsp.erb import erb_widths
from audiotool.errors import CheckpointError
from audiotool.importers.base import import_checkpoint
from audiotool.importers.deepfilternet3 import CONVOLUTIONS, DF, GRAPHS, LINEAR, NETWORK, RECURRENT
from audiotool.importers.onnx_file import GRU_ORDER, reorder_gates
from audiotool.models.deepfilternet3 import DeepFilterNet3
from audiotool.models.layers.running_mean import BLOCK, RunningMean

onnx = pytest.importorskip("onnx")

TINY = {**DeepFilterNet3.small, "batch_norm": False}


@needs_released
def test_official_outputs_of_released_weights() -> None:
    archive = ROOT / "deepfilternet3" / "DeepFilterNet3_onnx.tar.gz"
    model, metadata = import_checkpoint(archive, "deepfilternet3")
    pack = load("deepfilternet3/io.npz")
    assert (metadata.sample_rate, metadata.licence) == (48000, "MIT OR Apache-2.0")
    # The official stream is late by its delay.
    assert model.delay == 1440
    for name in ("s0", "s5", "s10"):
        with torch.inference_mode():
            y = model.process(pack[f"x.{name}"][None, None])[0, 0]
        assert y.shape == pack[f"x.{name}"].shape
        assert error(y, pack[f"y.{name}"][1440:]) <= 1e-5


@needs_released
def test_official_features_of_released_weights() -> None:
    archive = ROOT / "deepfilternet3" / "DeepFilterNet3_onnx.tar.gz"
    model, _ = import_checkpoint(archive, "deepfilternet3")
    assert isinstance(model, DeepFilterNet3)
    pack = load("deepfilternet3/io.npz")
    with torch.inference_mode():
        spec, _ = model.analysis(pack["x.s0"][None], None)
        spec = torch.stack((spec.real, spec.imag))[..., :10] / 960
        levels, bins = model._features(spec, {"means": (None, None)})
    assert error(levels[0, 0], pack["mid.s0.feat_erb"][:10]) <= 1e-5
    assert error(bins[0].permute(1, 2, 0), pack["mid.s0.feat_spec.0_9"]) <= 1e-5


def tiny(**values: Any) -> DeepFilterNet3:
    torch.manual_seed(0)
    return DeepFilterNet3.from_config({**TINY, **values}).eval()  # type: ignore[return-value]


def graph(name: str, tensors: dict[str, Tensor], drop: str = "") -> bytes:
    """One official graph: its operations in the official order, with the weights they use."""
    nodes: list[Any] = []
    stored: dict[str, Any] = {}

    def add(kind: str, *weights: Tensor) -> None:
        names = [f"onnx::{kind}_{len(stored) + n}" for n in range(len(weights))]
        stored.update(zip(names, weights, strict=True))
        nodes.append(onnx.helper.make_node(kind, ["x", *names], [f"y{len(nodes)}"]))

    for place in CONVOLUTIONS[name]:
        kind = "ConvTranspose" if ".spread.1.conv" in place or ".spread.2.conv" in place else "Conv"
        if place != drop:
            add(kind, *(tensors[k] for k in (f"{place}.weight", f"{place}.bias") if k in tensors))
    for place in LINEAR[name]:
        add("Einsum", tensors[f"{place}.weight"])
    place, n = RECURRENT[name], 0
    back = tuple(GRU_ORDER.index(k) for k in range(3))
    while f"{place}.grus.{n}.weight_ih_l0" in tensors:
        keys = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        parts = [reorder_gates(tensors[f"{place}.grus.{n}.{key}_l0"], back) for key in keys]
        add("GRU", parts[0][None], parts[1][None], torch.cat(parts[2:])[None])
        n += 1
    stored_tensors = [onnx.numpy_helper.from_array(v.detach().numpy(), k) for k, v in stored.items()]
    made = onnx.helper.make_graph(nodes, "main_graph", [], [], stored_tensors)
    return onnx.helper.make_model(made).SerializeToString()


def configuration(source: DeepFilterNet3, **changes: str) -> str:
    values = vars(source.config)
    lines = ["[train]", f"model = {changes.pop('model', 'deepfilternet3')}", "[df]"]
    lines += [f"{theirs} = {values[ours]}" for theirs, ours in DF.items()]
    lines += ["[deepfilternet]", f"emb_num_layers = {values['gain_layers'] + 1}", "conv_depthwise = True"]
    lines += [f"{theirs} = {values[ours]}" for theirs, ours in NETWORK.items()]
    return "\n".join([*lines, *(f"{key} = {value}" for key, value in changes.items())])


def archive(path: Path, source: DeepFilterNet3, drop: str = "", **changes: str) -> Path:
    tensors = dict(source.state_dict())
    files = {name: graph(name, tensors, drop) for name in GRAPHS if name != drop}
    files["config.ini"] = configuration(source, **changes).encode()
    with tarfile.open(path, "w:gz") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(f"tmp/export/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def test_official_layout(tmp_path: Path) -> None:
    source = tiny()
    path = archive(tmp_path / "DeepFilterNet3_onnx.tar.gz", source)
    model, _ = import_checkpoint(path, "deepfilternet3")
    x = 0.1 * torch.randn(1, 1, 3000)
    with torch.inference_mode():
        assert torch.equal(model.process(x), source.process(x))


@pytest.mark.parametrize(
    ("drop", "changes", "message"),
    [
        ("enc.onnx", {}, r"has no enc\.onnx: give DeepFilterNet3_onnx\.tar\.gz"),
        ("erb_dec.paths.2.conv", {}, "10 convolutions, DeepFilterNet3 has 11: it is of another version"),
        ("", {"model": "deepfilternet2"}, "is of a deepfilternet2, which is another network"),
        ("", {"group_shuffle": "True"}, "group_shuffle='True' is not supported"),
        ("", {"conv_widht": "3"}, "unknown official options: conv_widht"),
    ],
)
def test_other_archives_are_refused(tmp_path: Path, drop: str, changes: dict[str, str], message: str) -> None:
    path = archive(tmp_path / "a.tar.gz", tiny(), drop, **changes)
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(path, "deepfilternet3")


@pytest.mark.parametrize("content", [b"", b"DeepFilterNet" * 50, b"\x1f\x8b\x08\x00broken"])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"is not DeepFilterNet3's archive, or it is damaged"):
        import_checkpoint(tmp_path / "a.tar.gz", "deepfilternet3")


def test_bands_of_the_released_network() -> None:
    narrow = [2] * 13
    wide = [5, 5, 7, 7, 8, 10, 12, 13, 15, 18, 20, 24, 28, 31, 37, 42, 50, 56, 67]
    assert erb_widths(32, 960, 48000, 2) == narrow + wide


def test_parameters_of_the_released_network() -> None:
    with torch.device("meta"):
        # Without 770 values of the two heads whose outputs nothing uses.
        assert DeepFilterNet3.from_config({"batch_norm": False}).parameter_count == 2_134_641 - 770


def test_running_mean_is_the_recursion() -> None:
    mean = RunningMean(0.99, torch.tensor([1.0, -1.0]))
    x = torch.randn(1, 2, BLOCK + 40)
    found, last = mean(x)
    expected, rows = torch.tensor([[1.0, -1.0]]), []
    for frame in x.unbind(-1):
        expected = 0.99 * expected + 0.01 * frame
        rows.append(expected)
    assert (found - torch.stack(rows, dim=-1)).abs().max() <= 1e-6
    assert torch.equal(last, found[..., -1])


def test_the_post_filter_lowers_what_is_low() -> None:
    plain, filtered, x = tiny(), tiny(post_filter=0.1), 0.1 * torch.randn(1, 1, 3200)
    spec = torch.ones(2, 1, 8, 1)
    lowered = filtered._post_filtered(spec * torch.tensor([1.0, 0.1]).repeat(4)[:, None], spec)
    assert torch.allclose(lowered[:, :, ::2], torch.ones(()))
    g = torch.tensor(0.1)
    assert torch.allclose(lowered[:, :, 1::2], g * 1.1 / (1 + 0.1 / torch.sin(g * torch.pi / 2) ** 2))
    with torch.inference_mode():
        assert filtered.process(x).square().sum() < plain.process(x).square().sum()


def test_training_helps() -> None:
    torch.manual_seed(0)
    model = DeepFilterNet3.from_config({**TINY, "batch_norm": True}).train()
    target = torch.sin(torch.arange(3200) / 6)[None, None] * 0.3
    batch = {"input": target + 0.3 * torch.randn(2, 1, 3200), "target": target.expand(2, -1, -1)}
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        loss = (model.training_outputs(batch)["estimate"] - batch["target"]).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.85 * losses[0]
    assert all(p.grad is not None for p in model.parameters())
    model.training_outputs({"input": torch.zeros(1, 1, 3200)})["estimate"].sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
