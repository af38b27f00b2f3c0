"""WaveFlow: official outputs of both programs, queues against recomputation, exact streams, training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from kit.learning import learn
from kit.parity import relative_error
from kit.streams import stream
from kit.vocoders import features
from safetensors.torch import load_file
from torch import Tensor

from audiotool.errors import CheckpointError, InputError
from audiotool.importers.base import import_checkpoint
from audiotool.losses.flow import FlowLikelihoodLoss
from audiotool.models.waveflow import WaveFlow

PACKS = Path(__file__).parents[1] / "data" / "parity" / "waveflow"
FILES = {
    "h8_r16": "waveflow_5000",
    "h8_r16_bipartize": "waveflow_5000",
    "h8_r8_bipartize_f6": "waveflow_5000",
    "parakeet_h8": "step-1.pdparams",
}
SIZES = {
    "mel": {"sample_rate": 8000, "n_fft": 64, "hop_length": 16, "n_mels": 6},
    "rows": 4,
    "n_flows": 2,
    "n_layers": 2,
    "channels": 8,
    "upsample_factors": [4, 4],
}


def tiny(**values: object) -> WaveFlow:
    torch.manual_seed(0)
    model = WaveFlow.from_config({**SIZES, **values}).eval()
    for flow in model.flows:  # type: ignore[union-attr]
        # A fresh flow only moves rows.
        torch.nn.init.normal_(flow.proj_log_s_t.weight, 0.0, 0.05)
    return model  # type: ignore[return-value]


def official(pack: str) -> tuple[WaveFlow, dict[str, Tensor]]:
    folder = PACKS / pack
    model, _ = import_checkpoint(folder / FILES[pack], "waveflow", folder / "config.json")
    return model, load_file(folder / "io.safetensors")  # type: ignore[return-value]


@pytest.mark.parametrize("pack", FILES)
def test_official_analysis_and_loss(pack: str) -> None:
    model, io = official(pack)
    with torch.no_grad():
        z, log_determinant = model(io["audio"], io["mel"])
    expected = io["z"] if io["z"].dim() == 4 else model.stack(io["z"][:, None])
    assert relative_error(z, expected) <= 1e-4
    assert torch.isclose(log_determinant, io["logdet"].squeeze(), rtol=1e-4)
    outputs = {"z": z, "log_determinant": log_determinant}
    for sigma in (1.0, 0.7):
        loss = FlowLikelihoodLoss(sigma)(outputs, {})
        assert torch.isclose(loss, io[f"loss.sigma{sigma}"].squeeze(), rtol=1e-4)


@pytest.mark.parametrize("pack", ["h8_r16", "h8_r16_bipartize", "h8_r8_bipartize_f6"])
def test_official_synthesis(pack: str) -> None:
    model, io = official(pack)
    with torch.no_grad():
        # The official program drops what the last three frames upsample to.
        condition = model.upsample(io["mel"])[..., :-768]
        assert relative_error(model.inverse(io["reverse.z"], condition), io["reverse.audio"]) <= 1e-4


@pytest.mark.parametrize("values", [{"n_flows": 6, "bipartize": True}, {"n_flows": 3}])
def test_published_order_begins_with_the_condition_unmoved(values: dict[str, object]) -> None:
    x, z = features(9), torch.randn(1, 1, 4, 36)
    with torch.no_grad():
        ours, published = tiny(**values), tiny(**values, synthesis_order="published")
        condition = ours.upsample(x)
        rows, moved = z, published.stack(condition)
        for k in reversed(range(published.config.n_flows)):
            order = published._order(k)
            moved = moved[:, :, order]
            rows = published.row_flows[k].inverse(rows[:, :, order], moved)
        expected = rows[:, 0].transpose(1, 2).flatten(1)
        assert relative_error(published.inverse(z, condition), expected) <= 1e-4
        assert relative_error(ours.inverse(z, condition), expected) > 1e-4
        noise, _ = ours(expected, x)
        assert relative_error(ours.inverse(noise, condition), expected) <= 1e-4


def test_even_numbers_of_reversals_have_one_order() -> None:
    x, z = features(9), torch.randn(1, 1, 4, 36)
    with torch.no_grad():
        ours, published = tiny(), tiny(synthesis_order="published")
        assert torch.equal(ours.inverse(z, ours.upsample(x)), published.inverse(z, published.upsample(x)))


def test_official_synthesis_of_parakeet() -> None:
    model, io = official("parakeet_h8")
    with torch.no_grad():
        # The official program drops the last 16 columns after each upsampling layer.
        condition = io["mel"][:, None]
        for layer in model.upsample_conv:
            condition = F.leaky_relu(layer(condition), 0.4)[..., :-16]
        found = model.inverse(model.stack(io["infer.z"][:, None]), condition[:, 0])
    assert relative_error(found, io["infer.audio"]) <= 1e-4


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({}, 5_950_164),
        ({"weight_norm": False}, 5_925_074),
        ({"channels": 128}, 22_385_876),
        ({"channels": 128, "weight_norm": False}, 22_335_698),
    ],
)
def test_parameters(values: dict[str, object], count: int) -> None:
    with torch.device("meta"):
        assert WaveFlow.from_config(values).parameter_count == count


@pytest.mark.parametrize(
    "values", [{}, {"bipartize": True}, {"row_dilations": [1, 2]}, {"n_flows": 3}, {"kernel_size": [2, 3]}]
)
def test_queues_equal_recomputation(values: dict[str, object]) -> None:
    model, x = tiny(**values), features(9, batch=2)
    flow = model.flows[0]
    z = torch.randn(2, 1, 4, 36)
    condition = model.stack(model.upsample(x))
    with torch.no_grad():
        rows = [z[:, :, :1]]
        for n in range(1, 4):
            log_scale, shift, _ = flow.network(torch.cat(rows, dim=2), condition[:, :, 1 : n + 1])  # type: ignore[operator]
            rows.append((z[:, :, n : n + 1] - shift[:, :, -1:]) * torch.exp(-log_scale[:, :, -1:]))
        assert (flow.inverse(z, condition) - torch.cat(rows, dim=2)).abs().max() <= 1e-5  # type: ignore[operator]
        noise, _ = model(0.3 * z.flatten(1)[:, :144], x)
        restored = model.inverse(noise, model.upsample(x))
    assert (restored - 0.3 * z.flatten(1)[:, :144]).abs().max() <= 1e-4


def test_log_determinant_is_the_jacobians() -> None:
    model, x = tiny(bipartize=True).double(), features(2).double()
    waveform = torch.randn(1, 32, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda w: model(w, x)[0].flatten(), waveform)
    expected = torch.linalg.slogdet(jacobian[:, 0]).logabsdet
    assert torch.isclose(model(waveform, x)[1], expected)


@pytest.mark.parametrize("segment", [5, 16])
@pytest.mark.parametrize("bipartize", [False, True])
def test_streamed_equals_whole(segment: int, bipartize: bool) -> None:
    model, x = tiny(bipartize=bipartize), features(61, batch=2)
    with torch.no_grad():
        whole = model.process(x, seed=5)
    streamed = stream(model, segment, seed=5).process(x, [3, 0, 1, 30, 27])
    assert streamed.shape == (2, 1, 61 * 16)
    assert (streamed - whole).abs().max() <= 1e-5 * whole.abs().max()
    assert not torch.equal(model.process(x, seed=6), whole)


def test_temperature_scales_the_noise() -> None:
    x = features(6)
    with torch.no_grad():
        silent, plain = tiny(temperature=0.0), tiny()
        assert torch.equal(silent.process(x, seed=1), silent.process(x, seed=2))
        assert plain.process(x).std() > silent.process(x).std()


def test_nothing_in_nothing_out() -> None:
    assert tiny().process(features(0)).shape == (1, 1, 0)


def test_training_helps() -> None:
    model = tiny().train()
    batch = {"input": features(20, batch=2), "target": 0.1 * torch.randn(2, 1, 320)}
    loss = FlowLikelihoodLoss()
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    seen = learn(model, batch, loss, optimiser, 20)
    assert seen[1] < seen[0]
    assert seen[-1] < seen[0] - 0.1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"upsample_factors": [4, 2]}, "do not multiply to the mel's hop, 16"),
        ({"upsample_factors": [16, 1]}, "must be even"),
        ({"synthesis_order": "any"}, "should be 'analysis' or 'published'"),
        ({"rows": 6}, r"rows \(6\) must divide the mel's hop 16"),
        ({"kernel_size": [3, 2]}, "odd along columns"),
    ],
)
def test_configurations_that_do_not_fit(values: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        WaveFlow.from_config({**SIZES, **values})


def test_another_mel_is_refused() -> None:
    with pytest.raises(InputError, match=r"6, frames\), got \(1, 100, 5\).*vocos-24k"):
        tiny().process(torch.zeros(1, 100, 5))
