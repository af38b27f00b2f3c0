"""CleanUNet equals the official network, from the official files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from kit.parity import relative_error
from kit.streams import causal_stream
from safetensors.torch import load_file
from torch import Tensor

from audiotool import checkpoint
from audiotool.importers.base import import_checkpoint
from audiotool.models.base import Model, measure_level
from audiotool.models.cleanunet import CleanUNet, CleanUNetConfig

PACK = Path(__file__).parent.parent / "data" / "parity" / "cleanunet"


@pytest.fixture(scope="module")
def model() -> Model:
    return import_checkpoint(PACK / "official_checkpoint.pkl", "cleanunet", PACK / "config.json")[0]


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return load_file(PACK / "io.safetensors")


@pytest.mark.parametrize("case", ["a", "b", "short"])
def test_output_equals_the_official_one(model: Model, tensors: dict[str, Tensor], case: str) -> None:
    noisy = tensors[f"{case}.noisy"]
    before = noisy.clone()
    with torch.no_grad():
        found = model(noisy)
    assert relative_error(found, tensors[f"{case}.output"]) < 1e-4
    assert torch.equal(noisy, before)


def test_input_without_a_channel_axis(model: Model, tensors: dict[str, Tensor]) -> None:
    with torch.no_grad():
        found = model(tensors["short.noisy"][:, 0])
    assert relative_error(found, tensors["short.output"]) < 1e-4


def test_padded_length_is_the_official_one(model: Model, tensors: dict[str, Tensor]) -> None:
    assert model.padded_length(tensors["a.noisy"].shape[-1]) == int(tensors["a.padded_length"])  # type: ignore[operator]


@pytest.mark.parametrize("case", ["changed", "flipped"])
def test_changed_future_equals_the_official_one(model: Model, tensors: dict[str, Tensor], case: str) -> None:
    with torch.no_grad():
        found = model(tensors[f"causal.{case}_noisy"])
    assert relative_error(found, tensors[f"causal.{case}_output"]) < 1e-4


def test_a_stream_with_the_level_known_equals_the_official_output(
    model: Model, tensors: dict[str, Tensor]
) -> None:
    noisy = tensors["b.noisy"]
    streamer = causal_stream(model, chunk=model.hop_length * 5, level=measure_level(noisy))
    assert relative_error(streamer.process(noisy, 777), tensors["b.output"]) < 1e-4


def test_published_configuration_has_the_published_size() -> None:
    model = CleanUNet(CleanUNetConfig())
    assert model.parameter_count == 46_071_937
    bottleneck = sum(p.numel() for name, p in model.named_parameters() if "tsfm" in name)
    assert bottleneck == 16_540_416


@pytest.mark.parametrize(("sample", "lookahead"), [(64, 93), (65, 92), (95, 62), (112, 77)])
def test_lookahead_with_the_level_known_is_the_official_one(
    model: Model, tensors: dict[str, Tensor], sample: int, lookahead: int
) -> None:
    """Inputs that reach an output sample, as measured on the official network of this size."""
    furthest = 0
    for x in tensors["a.noisy"][..., :640].split(1):
        x = x.clone().requires_grad_()
        model(x, level=measure_level(x.detach()))[0, 0, sample].backward()
        assert x.grad is not None
        furthest = max(furthest, int(x.grad[0, 0].nonzero().max()))
    assert furthest == sample + lookahead
    assert model.latency >= lookahead


def test_imported_checkpoint_survives_saving(
    model: Model, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    found, metadata = import_checkpoint(PACK / "official_checkpoint.pkl", "cleanunet", PACK / "config.json")
    assert metadata.task == "denoise"
    assert metadata.licence == "MIT"
    assert metadata.sample_rate == 16000
    checkpoint.save(tmp_path / "c.safetensors", found.state_dict(), metadata)
    loaded, _ = checkpoint.load(tmp_path / "c.safetensors")
    with torch.no_grad():
        assert torch.equal(loaded(tensors["short.noisy"]), model(tensors["short.noisy"]))


def test_override_opens_the_attention_window() -> None:
    found, _ = import_checkpoint(
        PACK / "official_checkpoint.pkl", "cleanunet", PACK / "config.json", {"attention_window": None}
    )
    assert found.config.attention_window is None


def test_sample_rate_comes_from_the_configuration(tmp_path: Path) -> None:
    values = json.loads((PACK / "config.json").read_text())
    values["trainset_config"]["sample_rate"] = 24000
    (tmp_path / "config.json").write_text(json.dumps(values))
    found, metadata = import_checkpoint(
        PACK / "official_checkpoint.pkl", "cleanunet", tmp_path / "config.json"
    )
    assert found.sample_rate == metadata.sample_rate == 24000
