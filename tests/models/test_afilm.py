"""AFiLM and TFiLM: official output, sub-pixels, patches as a stream, training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from kit.learning import learn, mse
from kit.parity import relative_error
from kit.streams import stream
from safetensors.torch import load_file

from audiotool.errors import CheckpointError
from audiotool.importers.base import import_checkpoint
from audiotool.models.afilm import AFiLM, AFiLMConfig, TFiLM, TFiLMConfig, positional_code, sub_pixel
from audiotool.models.registry import MODELS
from audiotool.recipe.load import load as load_recipe

PACK = Path(__file__).parents[1] / "data" / "parity" / "afilm"
TINY: dict[str, Any] = {
    "filters": (4, 8),
    "kernel_sizes": (5, 3),
    "bottleneck_filters": 8,
    "bottleneck_kernel_size": 3,
    "patch_length": 64,
    "first_block": 8,
}


def tiny(kind: str) -> TFiLM:
    torch.manual_seed(0)
    if kind == "tfilm":
        return TFiLM(TFiLMConfig(**TINY)).eval()
    return AFiLM(AFiLMConfig(**TINY, heads=2, transformer_layers=2, transformer_inner_dim=16)).eval()


@pytest.mark.parametrize("weights", ["model.h5", "official_weights.safetensors"])
def test_official_output(weights: str) -> None:
    config = None if weights == "model.h5" else PACK / "config.json"
    model, _ = import_checkpoint(PACK / weights, "afilm", config)
    io = load_file(PACK / "io.safetensors")
    with torch.no_grad():
        y = model(io["x"].transpose(1, 2)).transpose(1, 2)
    assert relative_error(y, io["y"]) <= 1e-4


def test_official_sub_pixels() -> None:
    io = load_file(PACK / "io.safetensors")
    assert torch.equal(sub_pixel(io["subpixel.x"].transpose(1, 2)).transpose(1, 2), io["subpixel.y_r2"])


def test_published_parameter_count() -> None:
    with torch.device("meta"):
        assert AFiLM(AFiLMConfig()).parameter_count == 134_723_842


@pytest.mark.parametrize("name", ["afilm", "tfilm"])
def test_recipe(name: str) -> None:
    recipe = load_recipe(name)
    with torch.device("meta"):
        model = MODELS.get(recipe.model.name).from_config(recipe.model.config)
    assert recipe.audio.segment_seconds is not None
    assert recipe.audio.segment_seconds * recipe.audio.sample_rate == model.config.patch_length


def test_positional_code() -> None:
    code = positional_code(3, 4, torch.zeros(1))
    position = torch.arange(3.0)
    expected = [position.sin(), position.cos(), (position / 100).sin(), (position / 100).cos()]
    assert torch.allclose(code, torch.stack(expected, dim=1), atol=1e-6)


@pytest.mark.parametrize("kind", ["afilm", "tfilm"])
@pytest.mark.parametrize("length", [0, 1, 64, 65, 300])
def test_stream_equals_whole(kind: str, length: int) -> None:
    model = tiny(kind)
    x = torch.randn(2, 1, length, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole = model.process(x)
    assert whole.shape == x.shape
    for chunk in (64, 192):
        assert torch.allclose(stream(model, chunk).process(x, 37), whole, atol=1e-6)


def test_patches_do_not_see_each_other() -> None:
    model, x = tiny("afilm"), torch.randn(1, 1, 192)
    changed = x.clone()
    changed[..., 100] += 1
    with torch.inference_mode():
        differs = (model.process(x) != model.process(changed))[0, 0]
    assert not differs[:64].any()
    assert not differs[128:].any()
    assert differs[64] or differs[64:100].any()
    assert model.latency == 63


def test_dropout_is_off_outside_training() -> None:
    model, x = tiny("afilm"), torch.randn(1, 1, 64)
    with torch.no_grad():
        assert torch.equal(model(x), model(x))
        model.train()
        assert not torch.equal(model(x), model(x))


@pytest.mark.parametrize("kind", ["afilm", "tfilm"])
def test_overfits_one_patch(kind: str) -> None:
    model = tiny(kind)
    target = torch.sin(torch.arange(128) * 0.9).reshape(2, 1, 64)
    batch = {"input": 0.5 * target, "target": target}
    values = learn(model, batch, mse, torch.optim.Adam(model.parameters(), 1e-2), 20)
    assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize("attention", ["full", "linear", "multi-query"])
def test_kinds_of_attention(attention: Any) -> None:
    config = AFiLMConfig(**TINY, heads=2, transformer_layers=1, transformer_inner_dim=8, attention=attention)
    with torch.no_grad():
        assert AFiLM(config).eval()(torch.randn(1, 1, 64)).shape == (1, 1, 64)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"filters": (4,)}, "1 filters but 2 kernel_sizes"),
        ({"first_block": 6}, "cannot be halved"),
        ({"patch_length": 72}, "patch_length 72 is not a multiple of 16"),
        ({"heads": 3}, "3 heads do not divide 4 channels"),
        ({"attention": "windowed"}, "attention is full, memory-efficient, multi-query or linear"),
    ],
)
def test_bad_configurations_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        AFiLM.from_config({**TINY, "heads": 2, **values})
